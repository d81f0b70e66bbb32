"""Retires the store that a copy was made from, so that it never starts again beside its successor.

`retire` locks the old store's head and compares it with the copy's. Only when both are the same event does it retire
the old store, in one transaction: commands are refused, the gateway queue is empty, and a row that names the successor
prevents every later start. So the copy lacks nothing that the old store has accepted. A call of the gateway that is
under way ends without being recorded; the successor counts it as begun, as every open call.
"""

from contextlib import closing
from typing import Any, Final

import psycopg

from ledger.audit.verify import read_head
from ledger.errors import StoreInactive, StoreRetired
from ledger.export.errors import CopyBehind, NotThePredecessor
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, clock_of
from ledger.store.migrate import check_schema, ledger_id
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.export", "retire.sql")

SESSION: Final = {**WARNED, "lock_timeout": "8s"}
"""Longer than any writer may hold the head."""


def retire(old: Database, copy: Database, *, successor: str) -> None:
    """Retire the store `old`, whose whole log the inactive store `copy` has. `successor` names the copy for people.

    A store that was retired at the same event is left as it is, so a take-over that failed after it can be repeated.
    Raises CopyBehind when the old store has more events, NotThePredecessor when it has others, StoreInactive when it
    was never in charge, and SchemaOlder when it is of an earlier release; nothing has changed then. Raises
    OutcomeUnknown when the commit is in doubt.
    """
    check_schema(old)
    with closing(copy.administration.connect(application="payment-ledger take-over", owner=True)) as connection:
        copied, number = read_head(connection), ledger_id(connection)
    connecting = old.administration.connect(application="payment-ledger retire", owner=True, options=SESSION)
    with closing(connecting) as connection:
        if ledger_id(connection) != number:
            raise NotThePredecessor(why="it is another ledger")
        with certain_commits(connection), connection.transaction():
            row = connection.execute(LOG["lock_head"], binary=True).fetchone()
            assert row is not None, "check_schema has found a ledger"
            head = Head(*row)
            _compare(connection, head, copied)
            if head.inactive and _successor(connection) is None:
                raise StoreInactive
            parameters = {"successor": successor, "position": head.position, "at": clock_of(connection)}
            connection.execute(SQL["retire"], parameters)
            connection.execute(SQL["refuse_commands"])
            connection.execute(SQL["empty_queue"])


def check_not_retired(database: Database) -> None:
    """Check that no other store has taken over. Raises StoreRetired."""
    with closing(database.connect(application="payment-ledger check")) as connection:
        successor = _successor(connection)
    if successor is not None:
        raise StoreRetired(successor=successor)


def _compare(connection: psycopg.Connection[Any], head: Head, copied: Head) -> None:
    """Check that the copy ends with the old store's last event. Raises CopyBehind, NotThePredecessor."""
    if (head.position, head.digest) == (copied.position, copied.digest):
        return
    row = connection.execute(SQL["read_digest"], {"position": copied.position}).fetchone()
    if row is not None and bytes(row[0]) == copied.digest:
        raise CopyBehind(position=head.position, copied=copied.position)
    raise NotThePredecessor(why=f"its log does not have the event at position {copied.position} of the copy")


def _successor(connection: psycopg.Connection[Any]) -> str | None:
    row = connection.execute(SQL["read_successor"]).fetchone()
    return None if row is None else str(row[0])
