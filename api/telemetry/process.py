"""The figures of a process: requests, batches of its writer, calls of the gateway, pages of the projector.

Each process serves its own figures and begins at zero when it starts. Prometheus tells the processes apart by their
address, sums them up, and recognises a restart by a counter that falls.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from api.telemetry.durations import COUNTS, Histograms
from ledger.observe import BatchWritten, GatewayCalled, Observation, PageApplied

PREFIX: Final = "payment_ledger"


class ProcessMetrics(Collector):
    """The figures of one process, and the registry from which they are scraped."""

    def __init__(self) -> None:
        self.requests = Histograms(
            f"{PREFIX}_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route", "status"),
        )
        self._commands = Histograms(f"{PREFIX}_writer_batch_commands", "Commands in a committed batch.", (), COUNTS)
        self._waited = Histograms(
            f"{PREFIX}_writer_batch_duration_seconds", "Time from a batch's first command to its answers.", ()
        )
        self._head_wait = Histograms(f"{PREFIX}_writer_head_wait_seconds", "Time to lock the head of the log.", ())
        self._commit = Histograms(f"{PREFIX}_writer_commit_duration_seconds", "Time that a COMMIT took.", ())
        self._calls = Histograms(
            f"{PREFIX}_gateway_call_duration_seconds", "Time that a call of the gateway took.", ("action", "outcome")
        )
        self._pages = Histograms(
            f"{PREFIX}_projector_page_duration_seconds", "Time to apply a page of the log.", ("group",)
        )
        self._applied: dict[str, int] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def observe(self, seen: Observation) -> None:
        """Hear a report of the ledger."""
        match seen:
            case BatchWritten():
                self._commands.of().observe(seen.commands)
                self._waited.of().observe(seen.waited_seconds)
                self._head_wait.of().observe(seen.head_wait_seconds)
                self._commit.of().observe(seen.commit_seconds)
            case GatewayCalled():
                self._calls.of(seen.action, seen.outcome).observe(seen.seconds)
            case PageApplied():
                self._pages.of(seen.group).observe(seen.seconds)
                self._applied[seen.group] = self._applied.get(seen.group, 0) + seen.events

    def collect(self) -> Iterable[Metric]:
        """Yield the figures for a scrape."""
        every = (self.requests, self._commands, self._waited, self._head_wait, self._commit, self._calls, self._pages)
        yield from (histograms.family() for histograms in every)
        applied = CounterMetricFamily(f"{PREFIX}_projector_events", "Events applied to read models.", labels=["group"])
        for group, events in sorted(self._applied.items()):
            applied.add_metric([group], events)
        yield applied
