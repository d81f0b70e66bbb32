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

    Meant for a pipeline, as `Appending` is. Raises StoreWithheld before anything is sent.
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
    """An append under way, after a head whose lock the caller holds.

    Meant for a pipeline: what is sent is carried out while the caller goes on, and `check` reads the result before the
    COMMIT is sent.
    """

    def __init__(self, connection: psycopg.Connection[Any], head: Head) -> None:
        """Begin after `head`. Raises StoreWithheld."""
        if head.withheld:
            raise StoreWithheld
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
        """Send the head's move behind what was inserted, if anything was; `moved` has its time and counters."""
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
        """Give the head as it is now.

        Raises LogBroken when the head was not where it had been read, although it was locked.
        """
        if self._moving is not None and self._moving.rowcount != 1:
            raise LogBroken(position=self._reached.position, what="the head had moved while it was locked")
        return self._reached
