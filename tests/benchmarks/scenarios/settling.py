"""Scenarios 4 and 6: payments that are accepted, settled by an instant gateway, and visible to readers, for a minute.

The load keeps a bounded number of payments open: it sends new ones when the service's own metrics say that others have
ended. The result counts the payments that `payment_status` shows as succeeded at the end of the measured time and not
at its beginning, so accepting faster than settling gains nothing.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Self

import psycopg

from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import PartFailed, Service, serving
from tests.benchmarks.measuring.verification import (
    count_payments,
    count_visible_successes,
    ensure_effects,
    ensure_payments,
    wait_until_settled,
)
from tests.benchmarks.measuring.watch import Watch
from tests.benchmarks.running import ACCOUNTS, CONNECTIONS, Bench, connected, new_run, processes_of, with_load

BACKLOG: Final = 2_000
WARM_UP_SECONDS: Final = 8.0
SECONDS: Final = 60.0
SECONDS_QUICK: Final = 30.0

SETTLED: Final = "settled"
SETTLED_ON_ONE: Final = "settled, one account"


def measure(bench: Bench) -> Sequence[Measured]:
    """Scenario 4."""
    return [bench.repeat(SETTLED, lambda: settle(bench, accounts=ACCOUNTS), repeats=1, makes_payments=True)]


def measure_one_account(bench: Bench) -> Sequence[Measured]:
    """Scenario 6: the same with every payment on one account."""
    return [bench.repeat(SETTLED_ON_ONE, lambda: settle(bench, accounts=1), repeats=1, makes_payments=True)]


class Window:
    """The measured time: the resources used, and how many successes became visible in it."""

    def __init__(self, watch: Watch, connection: psycopg.Connection[Any], beside: AbstractContextManager[Any]) -> None:
        self.watch = watch
        self._beside = beside
        self.succeeded = 0
        self._connection = connection

    def __enter__(self) -> Self:
        self.succeeded = -count_visible_successes(self._connection)
        self.watch.__enter__()
        self._beside.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._beside.__exit__(None, None, None)
        self.watch.__exit__(*error)
        self.succeeded += count_visible_successes(self._connection)


def settle(bench: Bench, *, accounts: int) -> Run:
    """Run the whole service on a new ledger and measure how many payments settle."""
    with (
        bench.ledger(accounts=accounts) as url,
        bench.gateway() as (gateway_url, gateway),
        serving(bench.directory, url, gateway_url=gateway_url) as service,
    ):
        run = settle_on(bench, url, service, gateway, accounts=accounts)
        with connected(url) as connection:
            ensure_effects(connection, gateway_url)
        return run


def settle_on(
    bench: Bench,
    url: str,
    service: Service,
    gateway: int,
    *,
    accounts: int,
    payments: int = 0,
    beside: AbstractContextManager[Any] | None = None,
) -> Run:
    """Measure how many payments a running service settles, in a minute or until there were so many.

    `beside` is a context that is entered for the measured time.
    """
    with connected(url) as connection:
        before = count_payments(connection)
        window = Window(bench.watch(processes_of(service, gateway), url), connection, beside or nullcontext())
        plan = Plan(
            port=service.port,
            traffic=Traffic(kind="payments", run=new_run(), accounts=accounts),
            connections=CONNECTIONS,
            seconds=bench.seconds(SECONDS, quick=SECONDS_QUICK),
            warm_up_seconds=WARM_UP_SECONDS,
            backlog_max=BACKLOG,
            payments=payments,
        )
        load = bench.load(plan, window)
        service.ensure_whole()
        wait_until_settled(connection)
        if load.failures:
            raise PartFailed(f"{load.failures} requests were answered badly")
        ensure_payments(connection, accepted=before + load.payments)
    spent = window.watch.spent
    assert spent is not None
    return Run(
        value=window.succeeded / spent.seconds,
        count=window.succeeded,
        latency_ms_p50=load.latency_ms_p50,
        latency_ms_p99=load.latency_ms_p99,
        spent=with_load(spent, load),
        load=load,
    )
