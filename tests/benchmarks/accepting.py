"""Scenarios 2 and 3: one API process takes payments from 64 connections, one a request or 500 a request."""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks.books import count_payments, ensure_payments
from tests.benchmarks.load import Plan
from tests.benchmarks.measures import Measured, Run
from tests.benchmarks.parts import serving_api
from tests.benchmarks.running import ACCOUNTS, CONNECTIONS, Bench, connected, new_run, processes_of, run_of_requests
from tests.benchmarks.traffic import Traffic

BATCH: Final = 500
BATCH_CONNECTIONS: Final = 8
"""So many requests of 500 wait at a time; more would only be refused, as the writer's queue is bounded."""

WARM_UP_SECONDS: Final = 3.0
SECONDS: Final = 8.0


def measure_deposits(bench: Bench) -> Sequence[Measured]:
    """Scenario 2."""
    return [accept(bench, "POST deposit", Traffic(kind="deposits", accounts=ACCOUNTS), connections=CONNECTIONS)]


def measure_batches(bench: Bench) -> Sequence[Measured]:
    """Scenario 3."""
    traffic = Traffic(kind="batches", accounts=ACCOUNTS, batch_size=BATCH)
    return [accept(bench, "POST batch", traffic, connections=BATCH_CONNECTIONS)]


def accept(bench: Bench, name: str, traffic: Traffic, *, connections: int) -> Measured:
    """Measure an API that takes payments on a new ledger."""
    with bench.ledger() as url:
        return accept_on(bench, url, name, traffic, connections=connections)


def accept_on(bench: Bench, url: str, name: str, traffic: Traffic, *, connections: int) -> Measured:
    """Measure an API that takes payments on a ledger that is there."""
    with serving_api(bench.directory, url) as service, connected(url) as connection:
        accepted = [count_payments(connection)]

        def once() -> Run:
            plan = Plan(
                port=service.port,
                traffic=Traffic(
                    kind=traffic.kind, run=new_run(), accounts=traffic.accounts, batch_size=traffic.batch_size
                ),
                connections=connections,
                seconds=bench.seconds(SECONDS),
                warm_up_seconds=WARM_UP_SECONDS,
            )
            watch = bench.watch(processes_of(service), url)
            load = bench.load(plan, watch)
            accepted[0] += load.payments
            return run_of_requests(load, watch, payments_a_request=traffic.payments_a_request)

        found = bench.repeat(name, once, makes_payments=True)
        service.ensure_whole()
        # wrk stops without waiting for the answers that are under way, in its warm-ups too.
        unheard = 2 * len(found.runs) * connections * traffic.payments_a_request
        ensure_payments(connection, accepted=accepted[0], unheard=unheard)
        return found
