"""A worker or projector serves what it measures on a port of its own, and nothing where the port is 0."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.telemetry.server import metrics_served
from ledger import observe
from tests.support.ports import free_port


def test_calls_and_pages_are_served() -> None:
    """By outcome and by group, and with the figures of the process."""
    port = free_port()
    with metrics_served("127.0.0.1", port):
        observe.report(observe.GatewayCalled(action="pay", outcome="approved", seconds=0.2))
        observe.report(observe.PageApplied(group="counters", events=7, seconds=0.01))
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    observe.report(observe.PageApplied(group="counters", events=7, seconds=0.01))  # nobody hears it any more

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["payment_ledger_gateway_call_duration_seconds_sum", "pay", "approved"] == 0.2
    assert samples["payment_ledger_projector_page_duration_seconds_count", "counters"] == 1
    assert samples["payment_ledger_projector_events_total", "counters"] == 7
    assert samples["process_cpu_seconds_total",] > 0


def test_a_part_without_a_port_measures_nothing() -> None:
    """Its reports reach nobody."""
    with metrics_served("127.0.0.1", 0):
        assert observe._observers == []
