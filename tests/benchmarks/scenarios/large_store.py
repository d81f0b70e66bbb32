"""Scenario 10: deposits, settling and all reads on a store of ten million events, compared with a small one.

The large store has 100,000 accounts, and one event in ten belongs to the first of them, whose balance at a time is
computed from its snapshots. The small store has the same shape at a hundredth of the size, so its pages are as full.
Both are created by `store_loader`, their read models by `rebuild`, and both are vacuumed, as autovacuum would do. The
measurements on the large store are compared with those on the small one in the same run.

Verifying ten million events row by row takes longer than all the rest. So of the large store all seals are verified,
and everything that follows from the events that the measurements wrote. Scenarios 8 and 9 verify a
whole store that the loader filled. The small store is verified whole, as always.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from msgspec import Struct

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import DAYS, Loaded, Store, load_store, vacuum
from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.measuring.durability import ensure_durable
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import Service, run_command, serving, timed_command
from tests.benchmarks.measuring.verification import Successes, VerificationFailed, ensure_effects_since, successes
from tests.benchmarks.running import CONNECTIONS, Bench, connected
from tests.benchmarks.scenarios.accepting import accept_on
from tests.benchmarks.scenarios.reading import read_once
from tests.benchmarks.scenarios.settling import settle_on

SMALL_EVENTS: Final = 100_000
EVENTS_AN_ACCOUNT: Final = 100
LONG_SHARE: Final = 10
"""One event in so many belongs to the long account."""

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
"""All routes that read, except the audit's and the demo gateway's, which read none of our store."""

LONG_ROUTES: Final = {
    "GET /users/1/transactions, long": "/users/1/transactions",
    "GET /users/1/statement, long": "/users/1/statement",
}
"""The same for the account that has a million events."""

LATER: Final = 0.9
"""Balances are read at times in the last nine tenths of the log's time, in which every account is open."""

AT_A_TIME: Final = "GET /users/1/balance?at, long"
START: Final = "start to ready"


class Filled(Struct, frozen=True):
    """A filled store: the suffix of its measurements' names, its URL, and its contents."""

    suffix: str
    url: str
    loaded: Loaded
    accounts: int


class Served(Struct, frozen=True):
    """A filled store with a running service and gateway, and the successes before that."""

    filled: Filled
    service: Service
    gateway: int
    gateway_url: str
    before: Successes

    @property
    def suffix(self) -> str:
        """The suffix of its measurements' names."""
        return self.filled.suffix


StoreT = TypeVar("StoreT", Filled, Served)


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure on both stores in turn, so that both meet the same machine."""
    with bench.ledger(accounts=0) as small_url, _partly_verified(bench) as large_url:
        stores = [
            _fill(bench, small_url, SMALL_EVENTS, suffix=", small store"),
            _fill(bench, large_url, bench.sizes.large_events, suffix=", large store"),
        ]
        with ExitStack() as stack:
            served = [stack.enter_context(_serving(bench, store)) for store in stores]
            found = [
                Measured(name=START + each.filled.suffix, runs=[Run(value=each.service.start_seconds, count=1)])
                for each in served
            ]
            found += _read_all(bench, served)
            found += _in_turn(bench, "settled", served, partial(_settle, bench), makes_payments=True)
        return found + _in_turn(bench, "POST deposit", stores, partial(_accept, bench), makes_payments=True)


def _fill(bench: Bench, url: str, events: int, *, suffix: str) -> Filled:
    """Fill a store. A small one has the shape of a large one, so that pages are as full in both."""
    store = Store(events=events, accounts=events // EVENTS_AN_ACCOUNT, long_account=events // LONG_SHARE)
    loaded = load_store(Database(url), store)
    bench.tell(f"loaded {loaded.events:,} events, {loaded.events_a_second:,.0f} a second")
    timed = timed_command(bench.directory, url, "rebuild", "--json")
    bench.tell(f"rebuilt the read models, {loaded.events / timed.seconds:,.0f} events a second")
    vacuum(Database(url))
    return Filled(suffix, url, loaded, store.accounts)


@contextmanager
def _partly_verified(bench: Bench) -> Iterator[str]:
    """Create a ledger.

    At the end all seals are verified, and everything that follows from the events after the filling.
    """
    with bench.ledger(accounts=0, verified=False) as url:
        yield url
        ensure_durable(Database(url))
        for words in (("--seals-only",), ("--from", str(bench.sizes.large_events))):
            done = run_command(bench.directory, Database(url), "audit", "verify", *words, "--json")
            if done.returncode != 0 or not json.loads(done.stdout)["ok"]:
                raise VerificationFailed(f"audit verify {words}: {done.stdout[-2000:]} {done.stderr[-2000:]}")


@contextmanager
def _serving(bench: Bench, filled: Filled) -> Iterator[Served]:
    """Run the whole service on a store, after a checkpoint."""
    with connected(filled.url) as connection:
        before = successes(connection)
    place = bench.directory / filled.suffix.strip(", ")
    place.mkdir()
    bench.server.checkpoint()
    with (
        bench.gateway(place=place) as (gateway_url, gateway),
        serving(place, filled.url, gateway_url=gateway_url) as service,
    ):
        yield Served(filled, service, gateway, gateway_url, before)


def _read_all(bench: Bench, served: Sequence[Served]) -> list[Measured]:
    """Measure each route on one store and then on the other."""
    found = []
    for name, path in (ROUTES | LONG_ROUTES).items():
        found += _in_turn(bench, name, served, partial(_read, bench, path))
    dice = random.Random(AT_A_TIME)
    now = datetime.now(UTC)
    moments = [now - timedelta(days=dice.random() * DAYS * LATER) for _ in range(1_000)]
    at_times = [f"/api/v1/users/1/balance?at={at:%Y-%m-%dT%H:%M:%S}Z" for at in moments]

    def once(each: Served) -> Run:
        return read_once(bench, each.service, each.filled.url, at_times, connections=1)

    return found + _in_turn(bench, AT_A_TIME, served, once)


def _read(bench: Bench, path: str, each: Served) -> Run:
    """Read paths of one kind, the same ones in each turn."""
    dice, filled = random.Random(path), each.filled
    paths = [
        f"/api/v1{path.format(user=dice.randint(2, filled.accounts), payment=payment)}"
        for payment in filled.loaded.payment_ids
    ]
    return read_once(bench, each.service, filled.url, paths)


def _settle(bench: Bench, each: Served) -> Run:
    filled = each.filled
    run = settle_on(bench, filled.url, each.service, each.gateway, accounts=filled.accounts)
    with connected(filled.url) as connection:
        ensure_effects_since(connection, each.before, each.gateway_url)
    return run


def _accept(bench: Bench, filled: Filled) -> Run:
    traffic = Traffic(kind="deposits", accounts=filled.accounts)
    return accept_on(bench, filled.url, traffic, connections=CONNECTIONS)


def _in_turn(
    bench: Bench, name: str, stores: "Sequence[StoreT]", once: "Callable[[StoreT], Run]", **facts: bool
) -> list[Measured]:
    """Measure on one store and on the other in turn."""
    return bench.in_turn({name + each.suffix: partial(once, each) for each in stores}, **facts)
