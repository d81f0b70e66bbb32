"""Scenarios 2 and 3: one API process takes payments from 64 connections, one a request or 500 a request."""

from collections.abc import Sequence
from typing import Final

import msgspec

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
    """Measure an API that takes payments, each time on a new ledger."""

    def once() -> Run:
        with bench.ledger() as url:
            return accept_on(bench, url, traffic, connections=connections)

    return bench.repeat(name, once, makes_payments=True)


def accept_on(bench: Bench, url: str, traffic: Traffic, *, connections: int) -> Run:
    """Measure an API that takes payments on a ledger that is there."""
    with serving_api(bench.directory, url) as service, connected(url) as connection:
        before = count_payments(connection)
        plan = Plan(
            port=service.port,
            traffic=msgspec.structs.replace(traffic, run=new_run()),
            connections=connections,
            seconds=bench.seconds(SECONDS),
            warm_up_seconds=WARM_UP_SECONDS,
        )
        watch = bench.watch(processes_of(service), url)
        load = bench.load(plan, watch)
        service.ensure_whole()
        # wrk stops without waiting for the answers that are under way, and so does its warm-up.
        unheard = 2 * connections * traffic.payments_a_request
        ensure_payments(connection, accepted=before + load.payments, unheard=unheard)
    return run_of_requests(load, watch, payments_a_request=traffic.payments_a_request)
