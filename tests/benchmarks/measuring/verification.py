"""Verify a scenario's results: a fast wrong answer fails.

After each scenario the real `audit verify` recomputes all that follows from the log (seals, replay, keys, queue,
snapshots, and row by row the read models, as `rebuild --check-only` does). The store must have every payment that was
answered and no other, and the gateway's effects must equal the ledger's successes, to the cent.
"""

import json
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.store.database import Database
from ledger.store.statements import load_statements
from tests.benchmarks.measuring.durability import ensure_durable
from tests.benchmarks.measuring.parts import run_command

SQL: Final = load_statements("tests.benchmarks.measuring", "verification.sql")

CAUGHT_UP_SECONDS_MAX: Final = 300.0


class VerificationFailed(Exception):
    """The results do not verify; the text says why."""


class Successes(Struct, frozen=True, kw_only=True):
    """Successes as the ledger or the gateway counts them: how many payments, and their sums in minor units."""

    effects: int = 0
    deposit_minor: int = 0
    withdraw_minor: int = 0
    commission_minor: int = 0


def verify(directory: Path, database: Database) -> int:
    """Verify the whole store, and that all of it was durable. Returns the number of events.

    Raises VerificationFailed, NotDurable.
    """
    ensure_durable(database)
    done = run_command(directory, database, "audit", "verify", "--json")
    if done.returncode != 0:
        raise VerificationFailed(f"audit verify: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return int(json.loads(done.stdout)["events"])


def ensure_payments(connection: psycopg.Connection[Any], *, accepted: int, unheard: int = 0) -> None:
    """Compare the number of answered payments with the store. Raises VerificationFailed.

    A generator that stops at once leaves up to `unheard` requests whose answers it has not read.
    """
    stored = count_payments(connection)
    if not accepted <= stored <= accepted + unheard:
        raise VerificationFailed(f"{accepted} payments were answered, and the store has {stored}")


def ensure_effects(connection: psycopg.Connection[Any], gateway_url: str) -> None:
    """Compare the gateway's own book with the payments that succeeded. Raises VerificationFailed."""
    ensure_effects_since(connection, Successes(), gateway_url)


def ensure_effects_since(connection: psycopg.Connection[Any], before: Successes, gateway_url: str) -> None:
    """Do the same for a gateway that was started after `before`. Raises VerificationFailed."""
    now = successes(connection)
    ours = Successes(**{name: getattr(now, name) - getattr(before, name) for name in Successes.__struct_fields__})
    told = read_json(f"{gateway_url}/book")
    theirs = Successes(**{name: told[name] for name in Successes.__struct_fields__})
    if ours != theirs:
        raise VerificationFailed(f"the ledger says {ours}, and the gateway {theirs}")


def successes(connection: psycopg.Connection[Any]) -> Successes:
    """Sum up what succeeded, from the events."""
    row = connection.execute(SQL["sum_successes"]).fetchone()
    assert row is not None
    return Successes(effects=row[0], deposit_minor=row[1], withdraw_minor=row[2], commission_minor=row[3])


def wait_until_settled(connection: psycopg.Connection[Any], *, seconds: float = CAUGHT_UP_SECONDS_MAX) -> None:
    """Wait until the gateway queue is empty and the read models have caught up. Raises VerificationFailed."""
    deadline = time.monotonic() + seconds
    while _one(connection, "count_unsettled"):
        if time.monotonic() > deadline:
            raise VerificationFailed(f"after {seconds:.0f} s, {_one(connection, 'count_unsettled')} are left to do")
        time.sleep(0.1)


def count_payments(connection: psycopg.Connection[Any]) -> int:
    """Count all payments that were ever requested."""
    return _one(connection, "count_payments")


def count_visible_successes(connection: psycopg.Connection[Any]) -> int:
    """Count the successes that clients can read."""
    return _one(connection, "count_visible_successes")


def read_json(url: str) -> Any:
    """Read JSON from one of the run's own servers."""
    with closing(urllib.request.urlopen(url, timeout=30)) as answer:  # noqa: S310 - an http URL of ours
        return json.loads(answer.read())


def _one(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(SQL[statement]).fetchone()
    assert row is not None
    return int(row[0])
