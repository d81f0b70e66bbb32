"""Scenario 7: 5,000 payments wait for a gateway that errs in 25 % of its calls and is silent for a second in 10 %.

The limit on attempts: a call that times out holds one of `C` call slots for the whole time-out `t`, and any other call
for almost no time. With a share `p` of time-outs the slots allow C / (p t) attempts a second. The machine allows `A`
attempts a second, which is measured first: the same 5,000 payments with a gateway that always answers. A share of 65 %
of the attempts succeeds, so successes a second are at most

    0.65 * min(A, C / (p t))          with the default settings 0.65 * min(A, 64 / (0.1 * 1 s)) = 0.65 * min(A, 640)

This holds while there are always payments to attempt. All waiting payments are due before the first retry, because rows
are claimed in the order in which they fall due, so back-off costs nothing before all 5,000 were tried once. The
measured time is within that: from the 1,000th to the 4,500th recorded attempt, by the ledger's own times. A worker that
stalls behind slow calls shows in the longest time without a success, which must stay below half of a time-out.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import psycopg
from msgspec import Struct

from api.settings import Settings
from ledger.domain.commands import RequestDeposit
from ledger.store.database import Database
from ledger.store.statements import load_statements
from ledger.writer.writer import Writer
from tests.benchmarks.load.instant_gateway import InstantProfile
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import serving
from tests.benchmarks.measuring.verification import ensure_effects, ensure_payments, wait_until_settled
from tests.benchmarks.running import Bench, connected, processes_of

SQL: Final = load_statements("tests.benchmarks.scenarios", "bad_gateway.sql")

WAITING: Final = 5_000
ACCOUNTS: Final = 1_000
FIRST, LAST = 1_000, 4_500
ERROR_RATE: Final = 0.25
TIMEOUT_RATE: Final = 0.10

BAD: Final = "settled, bad gateway"
ALLOWED: Final = "allowed by the attempts"
PAUSE: Final = "longest pause between successes"


class Drained(Struct, frozen=True, kw_only=True):
    """How a queue was drained in its steady middle: attempts and successes per second, and the longest pause."""

    attempts: float
    successes: float
    pause_seconds: float


def measure(bench: Bench) -> Sequence[Measured]:
    """Drain a queue with a good gateway, and then another one with a bad gateway."""
    runs: list[tuple[Run, Drained]] = []
    able, _ = _drain(bench, InstantProfile())
    for _ in range(1 if bench.quick else 2):
        drained, run = _drain(bench, InstantProfile(error_rate=ERROR_RATE, timeout_rate=TIMEOUT_RATE))
        runs.append((run, drained))
        bench.tell(f"{BAD}: {drained}")
    return [
        Measured(name=BAD, runs=[run for run, _ in runs]),
        Measured(name=ALLOWED, runs=[Run(value=allowed(able.attempts), count=WAITING)]),
        Measured(name=PAUSE, runs=[Run(value=drained.pause_seconds, count=WAITING) for _, drained in runs]),
    ]


def allowed(attempts_a_second: float) -> float:
    """Return the possible successes per second, by the formula above."""
    settings = Settings.load({})
    slots = settings.worker_concurrency / (TIMEOUT_RATE * settings.gateway_timeout_seconds)
    return (1 - ERROR_RATE - TIMEOUT_RATE) * min(attempts_a_second, slots)


def _drain(bench: Bench, profile: InstantProfile) -> tuple[Drained, Run]:
    with (
        bench.ledger(accounts=ACCOUNTS) as url,
        bench.gateway(profile) as (gateway_url, gateway),
        connected(url) as connection,
    ):
        _request(url)
        bench.server.checkpoint()
        with serving(bench.directory, url, gateway_url=gateway_url) as service:
            with bench.watch(processes_of(service, gateway), url) as watch:
                wait_until_settled(connection)
            service.ensure_whole()
            ensure_payments(connection, accepted=WAITING)
            ensure_effects(connection, gateway_url)
        drained = drained_by(_times(connection))
        return drained, Run(value=drained.successes, count=WAITING, spent=watch.spent)


def _request(url: str) -> None:
    """Request payments while no worker runs, so that they wait."""
    writer = Writer(Database(url))
    writer.start()
    waiting = [
        writer.submit(
            RequestDeposit(
                command_id=f"{number:032x}", account_id=number % ACCOUNTS + 1, amount=Decimal(2), fee_rate_ppm=20_000
            )
        )
        for number in range(WAITING)
    ]
    for future in waiting:
        future.result(60)
    writer.stop()


def _times(connection: psycopg.Connection[Any]) -> list[tuple[bool, datetime]]:
    return [(is_success, at) for is_success, at in connection.execute(SQL["read_times"])]


def drained_by(times: Sequence[tuple[bool, datetime]], *, first: int = FIRST, last: int = LAST) -> Drained:
    """Compute the rates from the first to the last of some attempts. `times` are of successes and of attempts."""
    attempts = [at for is_success, at in times if not is_success]
    begin, end = attempts[first - 1], attempts[last - 1]
    seconds = (end - begin).total_seconds()
    successes = [at for is_success, at in times if is_success and begin < at <= end]
    edges = [begin, *successes, end]
    return Drained(
        attempts=(last - first) / seconds,
        successes=len(successes) / seconds,
        pause_seconds=max((after - before).total_seconds() for before, after in pairwise(edges)),
    )
