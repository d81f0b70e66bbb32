"""Scenario 5: the latencies that a client sees at a steady 200 payments a second, with an instant gateway.

The load does not depend on answers, so a stall counts for all requests that were due in it. Every eighth payment is
read again and again until its client would read `success`.
"""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan
from tests.benchmarks.measuring.measures import Measured, Run, percentile
from tests.benchmarks.measuring.parts import serving
from tests.benchmarks.measuring.verification import ensure_effects, ensure_payments, wait_until_settled
from tests.benchmarks.running import (
    ACCOUNTS,
    CONNECTIONS,
    Bench,
    connected,
    new_run,
    processes_of,
    run_of_requests,
)

RATE: Final = 200.0
FOLLOW_EVERY: Final = 8
WARM_UP_SECONDS: Final = 5.0
SECONDS: Final = 20.0


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure both latencies in the same runs."""
    with (
        bench.ledger() as url,
        bench.gateway() as (gateway_url, gateway),
        serving(bench.directory, url, gateway_url=gateway_url) as service,
        connected(url) as connection,
    ):
        accepted = [0]

        def once() -> Run:
            plan = Plan(
                port=service.port,
                traffic=Traffic(kind="payments", run=new_run(), accounts=ACCOUNTS),
                connections=CONNECTIONS,
                seconds=bench.seconds(SECONDS),
                warm_up_seconds=WARM_UP_SECONDS,
                rate=RATE,
                follow_every=FOLLOW_EVERY,
            )
            watch = bench.watch(processes_of(service, gateway), url)
            load = bench.load(plan, watch)
            accepted[0] += load.payments
            return run_of_requests(load, watch)

        found = bench.repeat("accepted", once, makes_payments=True)
        service.ensure_whole()
        wait_until_settled(connection)
        ensure_payments(connection, accepted=accepted[0])
        ensure_effects(connection, gateway_url)
    return [found, Measured(name="success readable", runs=[_readable(run) for run in found.runs])]


def _readable(run: Run) -> Run:
    assert run.load is not None
    waited = run.load.readable_ms
    return Run(
        value=len(waited) / run.load.seconds,
        count=len(waited),
        latency_ms_p50=percentile(waited, 0.5),
        latency_ms_p99=percentile(waited, 0.99),
    )
