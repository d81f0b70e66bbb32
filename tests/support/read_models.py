"""Read models that follow a log in tests: run a projector, wait for it, and look at what it has made."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from ledger.store.database import Database
from projections.contract.log_page import read_page
from projections.contract.table_names import LIVE, REBUILT
from projections.engine import rebuild as rebuilding
from projections.engine.projector import Projector
from projections.models.registry import GROUPS, TABLES
from tests.support.histories import History, append_rows

DEADLINE_SECONDS: Final = 60.0
MOVED: Final = "UPDATE projection_tracking SET position = (SELECT position FROM log_head)"
"""Say that the read models stand at the head."""


@contextmanager
def running(projector: Projector) -> Iterator[Projector]:
    """Run a projector in a thread, and stop it afterwards."""
    thread = threading.Thread(target=projector.run)
    thread.start()
    try:
        yield projector
    finally:
        projector.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def tracking(connection: psycopg.Connection[Any]) -> dict[str, tuple[int, str | None, int | None, str | None]]:
    """Where each group stands, who leads it, and what stopped it."""
    rows = connection.execute(
        "SELECT name, position, leader, stopped_at_position, stopped_because FROM projection_tracking"
    )
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def caught_up(connection: psycopg.Connection[Any]) -> bool:
    """Whether all groups stand at the head."""
    row = connection.execute("SELECT position FROM log_head").fetchone()
    assert row is not None
    return all(standing[0] == row[0] for standing in tracking(connection).values())


def dump(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all read models."""
    return {
        name: connection.execute(sql.SQL("SELECT * FROM {} AS r ORDER BY r").format(sql.Identifier(name))).fetchall()
        for name in TABLES
    }


def empty(connection: psycopg.Connection[Any]) -> None:
    """Begin the ledger anew, as only the owner may."""
    connection.execute(
        f"TRUNCATE events, {', '.join(TABLES)};"
        "UPDATE log_head SET position = 0;"
        "UPDATE projection_tracking SET position = 0, leader = NULL, leader_until = NULL, stopped_at_position = NULL"
    )


def apply_singly(connection: psycopg.Connection[Any], count: int) -> None:
    """Apply the first events of the log, each in a page of its own."""
    for after in range(count):
        with connection.transaction():
            for group in GROUPS:
                group.apply(connection, read_page(connection, after=after, size=1).events, LIVE)


def some_history(payments: int = 20) -> History:
    """A history with settled, failed and parked payments."""
    history = History()
    accounts = [history.open(), history.open("50"), history.open("0", "JPY")]
    for number in range(payments):
        account_id = accounts[number % 3]
        payment_id = history.deposit(account_id) if number % 2 else history.withdraw(account_id, "40")
        match number % 4:
            case 0 | 1:
                history.attempt(payment_id, "approved", "succeed")
            case 2:
                history.attempt(payment_id, "declined", "fail", error="gateway_error_400")
            case _:
                history.attempt(payment_id, "unknown", "inquire", error="timeout")
                history.inquire(payment_id, "no_clear_answer", "inquire")
    return history


def expected_of(database: Database, owner: psycopg.Connection[Any], history: History) -> dict[str, Any]:
    """What the read models are to be after a history: applied event by event, then taken away again."""
    append_rows(owner, history.rows)
    with closing(database.connect(application="payment-ledger tests")) as connection:
        apply_singly(connection, len(history.rows))
    expected = dump(owner)
    empty(owner)
    return expected


def append_and_apply(owner: psycopg.Connection[Any], history: History) -> None:
    """Have a history in the log and in the read models."""
    append_rows(owner, history.rows)
    apply_singly(owner, len(history.rows))
    owner.execute(MOVED)


def shape(owner: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """All that makes up the tables but their rows."""
    return owner.execute(rebuilding.SQL["read_shape"], {"tables": list(TABLES)}).fetchall()


def copies(owner: psycopg.Connection[Any]) -> list[str]:
    """The copies that are there."""
    rows = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE %s",
        [f"%{REBUILT}"],
    )
    return [name for (name,) in rows]
