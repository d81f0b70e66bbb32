"""Scenarios 2 and 3: one API process accepts payments from 64 connections, with 1 or 500 payments per request."""

from collections.abc import Sequence
from typing import Final

import msgspec

from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import serving_api
from tests.benchmarks.measuring.verification import count_payments, ensure_payments
from tests.benchmarks.running import ACCOUNTS, CONNECTIONS, Bench, connected, new_run, processes_of, run_of_requests

BATCH: Final = 500
BATCH_CONNECTIONS: Final = 8
"""The number of requests of 500 at a time. More would be refused, because the writer's queue is bounded."""

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
    """Measure an API that accepts payments, each time on a new ledger."""

    def once() -> Run:
        with bench.ledger() as url:
            return accept_on(bench, url, traffic, connections=connections)

    return bench.repeat(name, once, makes_payments=True)


def accept_on(bench: Bench, url: str, traffic: Traffic, *, connections: int) -> Run:
    """Measure an API that accepts payments on an existing ledger."""
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
        # wrk stops without waiting for the answers to its open requests, both after its warm-up and at the end.
        unheard = 2 * connections * traffic.payments_a_request
        ensure_payments(connection, accepted=before + load.payments, unheard=unheard)
    return run_of_requests(load, watch, payments_a_request=traffic.payments_a_request)
