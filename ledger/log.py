"""The event log: one order for all events, without gaps, each sealed to the one before.

The log's end is the one row of `head`. Whoever locks it may append; `append` seals the rows, inserts them and moves the
head by compare-and-set, and the caller commits. The writer and the recorder of `eventsourcing` share it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from msgspec import Struct

from ledger.arrays import Bigints, Byteas, Texts
from ledger.errors import LogBroken, StoreWithheld
from ledger.seal import seal_rows
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "log.sql")


class Head(Struct, frozen=True):
    """The log's end: the last position, its seal and time, and the counters of accounts and payments.

    `withheld` says that the store is an imported copy that nobody has taken over, so that nothing may be appended.
    """

    position: int
    digest: bytes
    at: datetime
    next_account_id: int
    next_payment_sequence: int
    withheld: bool = False


class Row(NamedTuple):
    """An event as it is stored, but for position and seal."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


def locked_head(answer: psycopg.Cursor[Any]) -> tuple[Head, datetime]:
    """Read the answer of `lock_head_to_append`: the head, and the database's clock when it was locked.

    Raises LogBroken when there is no head.
    """
    row = answer.fetchone()
    if row is None:
        raise LogBroken(position=0, what="the head is missing")
    *columns, clock, _ = row
    return Head(*columns), clock


def append(connection: psycopg.Connection[Any], head: Head, rows: Sequence[Row], *, moved: Head) -> "Appending":
    """Insert sealed rows after `head`, whose lock the caller holds, and move it; `moved` has time and counters.

    Meant for a pipeline: the statements are sent, and `Appending.check` reads their results before the COMMIT is sent.
    Raises StoreWithheld before anything is sent.
    """
    if head.withheld:
        raise StoreWithheld
    positions = range(head.position + 1, head.position + 1 + len(rows))
    digests = seal_rows(head.digest, head.position, rows)
    connection.execute(
        SQL["insert_events"],
        {**row_columns(rows), "positions": Bigints(positions), "digests": Byteas(digests)},
        prepare=True,
        binary=True,
    )
    reached = msgspec.structs.replace(moved, position=positions[-1], digest=digests[-1])
    cursor = connection.execute(
        SQL["move_head"],
        {**msgspec.structs.asdict(reached), "from_position": head.position},
        prepare=True,
        binary=True,
    )
    return Appending(cursor, reached)


def row_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Turn rows into the arrays that the INSERT statements take."""
    return {
        "originator_ids": Texts([row.originator_id for row in rows]),
        "originator_versions": Bigints([row.originator_version for row in rows]),
        "topics": Texts([row.topic for row in rows]),
        "states": Byteas([row.state for row in rows]),
    }


class Appending:
    """An append that was sent and whose result is not read yet."""

    def __init__(self, cursor: psycopg.Cursor[Any], head: Head) -> None:
        """Remember the cursor that moves the head to `head`."""
        self._cursor = cursor
        self._head = head

    def check(self) -> Head:
        """Give the head as it is now.

        Raises LogBroken when the head was not where it had been read, although it was locked.
        """
        if self._cursor.rowcount != 1:
            raise LogBroken(position=self._head.position, what="the head had moved while it was locked")
        return self._head
