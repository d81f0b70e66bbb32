"""The books of a scenario: a fast wrong answer fails.

After each scenario the real `audit verify` recomputes all that follows from the log (seals, replay, keys, queue,
snapshots, and row by row the read models, which is what `rebuild --check-only` does). Every payment that was answered
has to be in the store and no other, and the gateway has to have moved, to the cent, what the ledger says succeeded.
"""

import json
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.database import Database
from ledger.sql import load_statements
from tests.benchmarks.durability import ensure_durable
from tests.benchmarks.parts import run_command

SQL: Final = load_statements("tests.benchmarks", "books.sql")

CAUGHT_UP_SECONDS_MAX: Final = 300.0


class BooksWrong(Exception):
    """The books do not verify; the text says what is wrong."""


class Successes(Struct, frozen=True, kw_only=True):
    """What succeeded, in the ledger's words or in the gateway's: how many payments, and their sums in minor units."""

    effects: int = 0
    deposit_minor: int = 0
    withdraw_minor: int = 0
    commission_minor: int = 0


def verify(directory: Path, database: Database) -> int:
    """Verify the whole store, and that all of it was durable; the number of events.

    Raises BooksWrong, NotDurable.
    """
    ensure_durable(database)
    done = run_command(directory, database, "audit", "verify", "--json")
    if done.returncode != 0:
        raise BooksWrong(f"audit verify: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return int(json.loads(done.stdout)["events"])


def ensure_payments(connection: psycopg.Connection[Any], *, accepted: int, unheard: int = 0) -> None:
    """Hold the payments that were answered against the store. Raises BooksWrong.

    A generator that stops at once leaves up to `unheard` requests without hearing their answers.
    """
    stored = count_payments(connection)
    if not accepted <= stored <= accepted + unheard:
        raise BooksWrong(f"{accepted} payments were answered, and the store has {stored}")


def ensure_effects(connection: psycopg.Connection[Any], gateway_url: str) -> None:
    """Hold the gateway's own book against the payments that succeeded. Raises BooksWrong."""
    ensure_effects_since(connection, Successes(), gateway_url)


def ensure_effects_since(connection: psycopg.Connection[Any], before: Successes, gateway_url: str) -> None:
    """Do the same for a gateway that is younger than the ledger. Raises BooksWrong."""
    now = successes(connection)
    ours = Successes(**{name: getattr(now, name) - getattr(before, name) for name in Successes.__struct_fields__})
    told = read_json(f"{gateway_url}/book")
    theirs = Successes(**{name: told[name] for name in Successes.__struct_fields__})
    if ours != theirs:
        raise BooksWrong(f"the ledger says {ours}, and the gateway {theirs}")


def successes(connection: psycopg.Connection[Any]) -> Successes:
    """Sum up what succeeded, from the events."""
    row = connection.execute(SQL["sum_successes"]).fetchone()
    assert row is not None
    return Successes(effects=row[0], deposit_minor=row[1], withdraw_minor=row[2], commission_minor=row[3])


def wait_until_settled(connection: psycopg.Connection[Any], *, seconds: float = CAUGHT_UP_SECONDS_MAX) -> None:
    """Wait until nothing is left in the gateway queue and the read models stand at the log's end. Raises BooksWrong."""
    deadline = time.monotonic() + seconds
    while _one(connection, "count_unsettled"):
        if time.monotonic() > deadline:
            raise BooksWrong(f"after {seconds:.0f} s, {_one(connection, 'count_unsettled')} are left to do")
        time.sleep(0.1)


def count_payments(connection: psycopg.Connection[Any]) -> int:
    """Count all payments that were ever requested."""
    return _one(connection, "count_payments")


def count_visible_successes(connection: psycopg.Connection[Any]) -> int:
    """Count the payments that clients can read to have succeeded."""
    return _one(connection, "count_visible_successes")


def read_json(url: str) -> Any:
    """Read JSON from one of the run's own servers."""
    with closing(urllib.request.urlopen(url, timeout=30)) as answer:  # noqa: S310 - an http URL of ours
        return json.loads(answer.read())


def _one(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(SQL[statement]).fetchone()
    assert row is not None
    return int(row[0])
