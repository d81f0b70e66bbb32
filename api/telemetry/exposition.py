"""The text of a scrape of the API: the figures of its process, and those of the whole ledger from the database.

Totals of payments are the counters that the projector keeps, so they cost one short read and are the same in every
process and after every restart. Health is the rule table: each rule is 1 while it is true.

Where the ledger has several partitions, each figure of a partition has the label `partition`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar, get_args

from msgspec import UNSET, Struct, UnsetType
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.queries.health_evidence import Evidence
from api.queries.health_rule import RULES
from api.queries.service_status import StatusReport
from api.telemetry.process import PREFIX, ProcessMetrics
from ledger.domain.kinds import KINDS
from ledger.operation.state import GatewayWord
from ledger.store.heartbeats import FRESH, PARTS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_TOTALS: Final = (
    (
        "payments_requested",
        "Payments requested.",
        "kind",
        {kind: f"payments_{kind}_requests_total" for kind in KINDS},
    ),
    (
        "gateway_attempts",
        "Attempts at the gateway, lost ones too.",
        "outcome",
        {
            "approved": "gateway_success_total",
            "declined": "gateway_non_retryable_errors_total",
            "timeout": "gateway_timeouts_total",
            "error": "gateway_errors_total",
        },
    ),
)
"""The labelled totals: name, help, label, and the counter of the read model for each value of the label."""

_PLAIN_TOTALS: Final = (
    ("payments_queued", "Payments given to the gateway queue, requeues too.", "payments_task_enqueued_total"),
    ("gateway_retries", "Attempts after which another one was scheduled.", "payments_retried_total"),
    ("dead_letters_written", "Failures, parkings and contradictions.", "dlq_written_total"),
)


SeenT = TypeVar("SeenT")

_Seen = Sequence[tuple[int | UnsetType, SeenT]]
"""Something of each partition, with its number, which is UNSET where there is only one."""


class Totals(Struct, frozen=True):
    """The counters by name, and the ends of payments by kind, currency and end."""

    counters: Mapping[str, int]
    ends: Mapping[tuple[str, str, str], int]


class Figures(Struct, frozen=True, kw_only=True):
    """Everything that a scrape shows beside the process's own measurements.

    `partitions` has the evidence of each partition and its number, which is UNSET where there is only one. `totals` is
    None when they could not be read in all of them. `pool` are the figures of psycopg_pool.
    """

    partitions: _Seen[Evidence]
    totals: Totals | None
    pool: Mapping[str, int]
    commands_waiting: int
    replays: int


class _Shown:
    """Metrics as a registry that can be written."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(process: ProcessMetrics, figures: Figures) -> bytes:
    """Write a scrape in Prometheus' text format."""
    return generate_latest(process.registry) + generate_latest(_Shown(_metrics(figures)))


def _metrics(figures: Figures) -> Iterable[Metric]:
    yield from _of_process(figures)
    yield from _of_health(figures.partitions)
    if figures.totals is not None:
        yield from _totals(figures.totals.counters)
        yield _ends(figures.totals.ends)
    if reports := [(label, found.report) for label, found in figures.partitions if found.report is not None]:
        yield from _of_reports(reports)


def _of_process(figures: Figures) -> Iterable[Metric]:
    yield _gauge("writer_commands_waiting", "Commands that wait for this process's writer.", figures.commands_waiting)
    replays = CounterMetricFamily(f"{PREFIX}_idempotency_replays", "Requests that were answered from their key.")
    replays.add_metric([], figures.replays)
    yield replays
    pool = figures.pool
    yield _gauge("pool_connections", "Connections of this process's read pool.", pool.get("pool_size", 0))
    yield _gauge("pool_connections_idle", "Connections of the read pool that are free.", pool.get("pool_available", 0))
    yield _gauge("pool_requests_waiting", "Reads that wait for a connection.", pool.get("requests_waiting", 0))


def _of_health(partitions: _Seen[Evidence]) -> Iterable[Metric]:
    about = "Whether a rule of the health table is true: 1 or 0."
    rules = _Family("health_rule", about, partitions, "rule", "severity")
    for number, evidence in partitions:
        for rule in RULES:
            rules.add(number, float(any(rule.find(evidence))), rule.name, rule.severity)
    yield rules.metric
    _, of_machine = partitions[0]
    if (last := of_machine.verification) is not None:
        yield _gauge("verified_position", "The last position that was verified clean.", last.position)
        yield _gauge("verified_age_seconds", "Time since the last clean verification.", last.seconds_ago)
    if (disk := of_machine.disk) is not None:
        yield _gauge("disk_free_bytes", "Room on the disk of the data directory.", disk.free_bytes)
        yield _gauge("disk_size_bytes", "Size of the disk of the data directory.", disk.total_bytes)


def _totals(counters: Mapping[str, int]) -> Iterable[Metric]:
    for name, about, label, values in _TOTALS:
        family = CounterMetricFamily(f"{PREFIX}_{name}", about, labels=[label])
        for value, counter in values.items():
            family.add_metric([value], counters.get(counter, 0))
        yield family
    for name, about, counter in _PLAIN_TOTALS:
        family = CounterMetricFamily(f"{PREFIX}_{name}", about)
        family.add_metric([], counters.get(counter, 0))
        yield family


def _ends(counted: Mapping[tuple[str, str, str], int]) -> Metric:
    about = "Ends of payments; a failure counts again when the payment was requeued in between."
    family = CounterMetricFamily(f"{PREFIX}_payments_ended", about, labels=["kind", "currency", "end"])
    for labels, count in sorted(counted.items()):
        family.add_metric(labels, count)
    return family


def _of_reports(reports: _Seen[StatusReport]) -> Iterable[Metric]:
    def family(name: str, about: str, *labels: str) -> _Family:
        return _Family(name, about, reports, *labels)

    position = family("log_position", "The last position of the log.")
    ahead = family("log_ahead_seconds", "How far the log's time is ahead of the clock.")
    waiting = family("gateway_queue_payments", "Payments that wait for the gateway.")
    due = family("gateway_queue_oldest_due_seconds", "How long the first one has been due.")
    gateway = family("gateway_state", "1 for the state of the gateway: closed, held, open or paused.", "state")
    letters = family("dead_letters", "Dead letters by state.", "state")
    oldest = family("dead_letter_oldest_seconds", "Age of the oldest dead letter of a state.", "state")
    events = family("projection_lag_events", "Events that a group of read models is behind the log.", "group")
    seconds = family("projection_lag_seconds", "Age of the first event that is not applied.", "group")
    alive = family("parts_alive", "Instances of a part whose heartbeat is fresh.", "part")
    for number, report in reports:
        position.add(number, report.position)
        ahead.add(number, report.log_ahead_seconds)
        waiting.add(number, report.gateway_queue.waiting)
        due.add(number, report.gateway_queue.oldest_due_seconds)
        for word in get_args(GatewayWord):
            gateway.add(number, float(report.gateway.state == word), word)
        for state, count in report.dead_letters.items():
            letters.add(number, count, state)
            oldest.add(number, report.oldest_letter_seconds[state], state)
        for model in report.read_models:
            events.add(number, model.lag, model.name)
            seconds.add(number, model.lag_seconds, model.name)
        for part in PARTS:
            fresh = [one for one in report.parts if one.part == part and one.seen_seconds_ago < FRESH.total_seconds()]
            alive.add(number, len(fresh), part)
    families = (position, ahead, waiting, due, gateway, letters, oldest, events, seconds, alive)
    yield from (each.metric for each in families)


class _Family:
    """A gauge with values of each partition, which have its number as a label where there are several."""

    def __init__(self, name: str, about: str, partitions: _Seen[object], *labels: str) -> None:
        own = [] if partitions[0][0] is UNSET else ["partition"]
        self.metric = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=[*own, *labels])

    def add(self, number: int | UnsetType, value: float, *labels: str) -> None:
        """Add a value of a partition."""
        self.metric.add_metric([*([] if number is UNSET else [str(number)]), *labels], value)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, value=value)
