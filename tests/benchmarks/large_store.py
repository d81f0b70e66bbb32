"""Scenario 10: the same on a store of ten million events as on a small one: deposits, settling, and all reads.

The large store has 100,000 accounts, and one event in ten is on the first of them, whose balance at a time has to come
from its snapshots. The small store has the same shape at a hundredth of the size, so that pages are as full there. Both
are made by `store_loader`, and their read models by `rebuild`. What is compared is what the large one does against what
the small one does in the same run.

Verifying ten million events row by row takes longer than all the rest, so of the large store all seals are verified,
and everything that follows from the part of the log that the measurements wrote; how the loader fills a store is what
scenarios 8 and 9 verify whole. The small store is verified whole, as ever.
"""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from ledger.database import Database
from tests.benchmarks.accepting import accept_on
from tests.benchmarks.books import BooksWrong, ensure_effects_since, successes, wait_until_settled
from tests.benchmarks.durability import ensure_durable
from tests.benchmarks.measures import Measured, Run
from tests.benchmarks.parts import Service, run_command, serving, timed_command
from tests.benchmarks.reading import read
from tests.benchmarks.running import CONNECTIONS, Bench, connected
from tests.benchmarks.settling import settle_on
from tests.benchmarks.store_loader import DAYS, Loaded, Store, load_store
from tests.benchmarks.traffic import Traffic

SMALL_EVENTS: Final = 100_000
EVENTS_AN_ACCOUNT: Final = 100
LONG_SHARE: Final = 10
"""One event in so many is on the long account."""

ROUTES: Final = {
    "GET /users/ID": "/users/{user}",
    "GET /users/ID/transactions": "/users/{user}/transactions",
    "GET /users/ID/statement": "/users/{user}/statement",
    "GET /users/ID/balance": "/users/{user}/balance",
    "GET /payments/ID": "/payments/{payment}",
    "GET /payments/ID/events": "/payments/{payment}/events",
    "GET /payments": "/payments",
    "GET /payments?user_id=ID": "/payments?user_id={user}",
    "GET /payments?status=success": "/payments?status=success",
    "GET /dlq": "/dlq",
    "GET /health": "/health",
    "GET /metrics": "/metrics",
}
"""All routes that read, but for the audit's and the demo gateway's, which keeps no store of ours."""

LONG_ROUTES: Final = {
    "GET /users/1/transactions, long": "/users/1/transactions",
    "GET /users/1/statement, long": "/users/1/statement",
}
"""The same for the account that has a million events."""

LATER: Final = 0.9
"""Balances are asked for from the last nine tenths of the log's time, in which every account is open."""

AT_A_TIME: Final = "GET /users/1/balance?at, long"
START: Final = "start to ready"


class Filled(Struct, frozen=True):
    """A store that was filled: where it is, what is in it, and what was measured on it so far."""

    url: str
    loaded: Loaded
    accounts: int


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure on both stores."""
    with bench.ledger(accounts=0) as url:
        found = _measure_on(bench, _fill(bench, url, SMALL_EVENTS), suffix=", small store")
    with _partly_verified(bench) as url:
        found += _measure_on(bench, _fill(bench, url, bench.sizes.large_events), suffix=", large store")
    return found


def _fill(bench: Bench, url: str, events: int) -> Filled:
    """Fill a store; a small one has the shape of a large one, so that pages are as full in both."""
    store = Store(events=events, accounts=events // EVENTS_AN_ACCOUNT, long_account=events // LONG_SHARE)
    loaded = load_store(Database(url), store)
    bench.tell(f"loaded {loaded.events:,} events, {loaded.events_a_second:,.0f} a second")
    timed = timed_command(bench.directory, url, "rebuild", "--json")
    bench.tell(f"rebuilt the read models, {loaded.events / timed.seconds:,.0f} events a second")
    return Filled(url, loaded, store.accounts)


@contextmanager
def _partly_verified(bench: Bench) -> Iterator[str]:
    """Make a ledger of which in the end all seals are verified, and everything behind what it was filled with."""
    with bench.ledger(accounts=0, verified=False) as url:
        yield url
        ensure_durable(Database(url))
        for words in (("--seals-only",), ("--from", str(bench.sizes.large_events))):
            done = run_command(bench.directory, Database(url), "audit", "verify", *words, "--json")
            if done.returncode != 0 or not json.loads(done.stdout)["ok"]:
                raise BooksWrong(f"audit verify {words}: {done.stdout[-2000:]} {done.stderr[-2000:]}")


def _measure_on(bench: Bench, filled: Filled, *, suffix: str) -> list[Measured]:
    url, accounts = filled.url, filled.accounts
    with bench.gateway() as (gateway_url, gateway), connected(url) as connection:
        bench.server.checkpoint()
        before = successes(connection)
        with serving(bench.directory, url, gateway_url=gateway_url) as service:
            wait_until_settled(connection)
            start = Measured(name=START + suffix, runs=[Run(value=service.start_seconds, count=1)])
            found = [start, *_read_all(bench, service, filled, suffix=suffix)]
            run = settle_on(bench, url, service, gateway, accounts=accounts)
            found.append(Measured(name=f"settled{suffix}", runs=[run], makes_payments=True))
            bench.tell(f"settled{suffix}: {run.value:,.0f}")
            ensure_effects_since(connection, before, gateway_url)
            service.ensure_whole()
        traffic = Traffic(kind="deposits", accounts=accounts)
        accepted = accept_on(bench, url, traffic, connections=CONNECTIONS)
        found.append(Measured(name=f"POST deposit{suffix}", runs=[accepted], makes_payments=True))
        bench.tell(f"POST deposit{suffix}: {accepted.value:,.0f}")
    return found


def _read_all(bench: Bench, service: Service, filled: Filled, *, suffix: str) -> list[Measured]:
    dice = random.Random(10)
    payments = filled.loaded.payment_ids
    users = [dice.randint(2, filled.accounts) for _ in range(len(payments))]
    found = []
    for name, path in (ROUTES | LONG_ROUTES).items():
        paths = [
            f"/api/v1{path.format(user=user, payment=payment)}" for user, payment in zip(users, payments, strict=True)
        ]
        found.append(read(bench, service, filled.url, name + suffix, paths, repeats=1))
    now = datetime.now(UTC)
    moments = [now - timedelta(days=dice.random() * DAYS * LATER) for _ in range(1_000)]
    paths = [f"/api/v1/users/1/balance?at={at:%Y-%m-%dT%H:%M:%S}Z" for at in moments]
    found.append(read(bench, service, filled.url, AT_A_TIME + suffix, paths, repeats=1, connections=1))
    return found
