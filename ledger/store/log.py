"""The event log: all events in one order, without gaps, each sealed to the event before it.

The head of the log is the one row of `log_head`. A session that holds its row lock may append. `append` seals the rows,
inserts them and moves the head by compare-and-set; the caller commits. The writer and the recorder of `eventsourcing`
both append this way.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from msgspec import Struct

from ledger.errors import LogBroken, StoreInactive
from ledger.store.array_parameters import Bigints, Byteas, Texts
from ledger.store.hash_chain import seal_rows
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "log.sql")

PAGE: Final = 5_000
"""How many rows a statement of a long read takes: audit, export, import, replay. No snapshot stays open for longer."""


class Head(Struct, frozen=True):
    """The head of the log: the last position, its seal and time, and the counters of accounts and payments.

    `inactive` marks an imported copy that no operator has activated. Nothing may be appended to it.
    """

    position: int
    digest: bytes
    at: datetime
    next_account_id: int
    next_payment_sequence: int
    inactive: bool = False


class Row(NamedTuple):
    """A stored event without its position and seal."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


def locked_head(answer: psycopg.Cursor[Any]) -> tuple[Head, datetime]:
    """Read the result of `lock_head_to_append`: the head, and the database's clock when the lock was taken.

    Raises LogBroken when the head is missing.
    """
    row = answer.fetchone()
    if row is None:
        raise LogBroken(position=0, what="the head is missing")
    *columns, clock, _ = row
    return Head(*columns), clock


def clock_of(connection: psycopg.Connection[Any]) -> datetime:
    """Read the database's clock."""
    row = connection.execute(SQL["read_clock"]).fetchone()
    assert row is not None
    clock: datetime = row[0]
    return clock


def append(connection: psycopg.Connection[Any], head: Head, rows: Sequence[Row], *, moved: Head) -> "Appending":
    """Seal rows and insert them after `head`, which the caller has locked, and move the head.

    `moved` holds the new head's time and counters. Use it in a pipeline, like `Appending`. Raises StoreInactive before
    it sends anything.
    """
    appending = Appending(connection, head)
    appending.insert(rows)
    appending.move(moved)
    return appending


def row_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Turn rows into the arrays that the INSERT statements take."""
    return {
        "originator_ids": Texts([row.originator_id for row in rows]),
        "originator_versions": Bigints([row.originator_version for row in rows]),
        "topics": Texts([row.topic for row in rows]),
        "states": Byteas([row.state for row in rows]),
    }


class Appending:
    """An append in progress, after a head that the caller has locked.

    Use it in a pipeline: the server executes the statements while the caller continues, and `check` reads the result
    before the caller sends COMMIT.
    """

    def __init__(self, connection: psycopg.Connection[Any], head: Head) -> None:
        """Begin after `head`. Raises StoreInactive for an imported copy that was not activated."""
        if head.inactive:
            raise StoreInactive
        self._connection = connection
        self._from_position = head.position
        self._reached = head
        self._moving: psycopg.Cursor[Any] | None = None

    def insert(self, rows: Sequence[Row]) -> None:
        """Seal rows and send them."""
        before = self._reached
        positions = range(before.position + 1, before.position + 1 + len(rows))
        digests = seal_rows(before.digest, before.position, rows)
        self._connection.execute(
            SQL["insert_events"],
            {**row_columns(rows), "positions": Bigints(positions), "digests": Byteas(digests)},
            prepare=True,
            binary=True,
        )
        self._reached = msgspec.structs.replace(before, position=positions[-1], digest=digests[-1])

    def move(self, moved: Head) -> None:
        """Send the head's move to the last inserted row, if there is one; `moved` holds its time and counters."""
        last = self._reached
        if last.position == self._from_position:
            return
        self._reached = msgspec.structs.replace(moved, position=last.position, digest=last.digest)
        self._moving = self._connection.execute(
            SQL["move_head"],
            {**msgspec.structs.asdict(self._reached), "from_position": self._from_position},
            prepare=True,
            binary=True,
        )

    def check(self) -> Head:
        """Return the new head.

        Raises LogBroken when the compare-and-set found the head at another position, although this session locked it.
        """
        if self._moving is not None and self._moving.rowcount != 1:
            raise LogBroken(position=self._reached.position, what="the head had moved while it was locked")
        return self._reached
