"""The writer's connection: opened on demand, rolled back after a failed batch, and queried after a lost COMMIT.

A COMMIT without an answer may have succeeded. The new connection waits for the head lock, which the old backend holds
until its transaction ends. Then the batch was committed if the event at its last position has the batch's own seal.

A COMMIT that was answered with a warning may be on this server only: the wait for the synchronous standby was
cancelled. It is in doubt too. The question ends in a COMMIT of its own, whose answer comes only when the standbys have
everything up to it.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
import psycopg.errors
import stamina

from ledger.errors import StoreInactive
from ledger.recovery.noted_head import NotedHeads
from ledger.recovery.recover import recover_if_behind
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.commit_warnings import CommitWarnings
from ledger.sessions.pauses import FIRST_SECONDS, LONGEST_SECONDS
from ledger.store.database import BY_INDEX, WARNED, Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, locked_head
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.writer", "writer.sql")

SETTINGS: Final = {
    **WARNED,
    **BY_INDEX,
    # Longer than another writer may hold the head lock (see lock_head_to_append).
    "lock_timeout": "6s",
}

RETRY_SECONDS_MIN: Final = 0.1
"""A connection is tried for at least this long, also after the deadline."""

ANSWER_SECONDS_MIN: Final = 2.0
"""However late it is, the server has so long to answer: a batch that waited in a long queue is not cut off."""

ANSWER_SECONDS_MAX: Final = 3.5
"""How long the server may take for a batch, or to say whether it was committed.

It is shorter than the patience of callers, so that a batch whose COMMIT gets no answer can still be asked about.
"""


def answer_seconds(deadline: float) -> float:
    """Return how long the server may take for a batch whose callers wait until `deadline`."""
    return max(ANSWER_SECONDS_MIN, min(ANSWER_SECONDS_MAX, deadline - time.monotonic()))


class WriterSession:
    """The one connection of a writer, which only its thread uses."""

    def __init__(self, database: Database, noted_heads: NotedHeads | None = None) -> None:
        self._database = database
        self._noted_heads = noted_heads
        self._connection: psycopg.Connection[Any] | None = None
        self._warnings = CommitWarnings()

    def connect(self, *, deadline: float, is_stopping: Callable[[], bool]) -> psycopg.Connection[Any]:
        """Return the connection, reconnected if it was lost. Retries until a time of the monotonic clock, or a stop.

        Raises psycopg.OperationalError when the server cannot be reached until then. Raises StoreBroken, at once, for a
        session that is not as it was asked for, and for a store whose recovery fails.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, psycopg.OperationalError) and not is_stopping(),
            attempts=None,
            timeout=max(RETRY_SECONDS_MIN, deadline - time.monotonic()),
            wait_initial=FIRST_SECONDS,
            wait_max=LONGEST_SECONDS,
            wait_jitter=FIRST_SECONDS,
        ):
            with attempt:
                connection = self._database.connect_to_repeat(
                    application="payment-ledger writer",
                    options=SETTINGS,
                    within_seconds=answer_seconds(deadline),
                )
                try:
                    recover_if_behind(self._database, self._noted_heads, within_seconds=answer_seconds(deadline))
                except BaseException:
                    connection.close()
                    raise
                self._warnings.watch(connection)
                self._connection = connection
        assert self._connection is not None
        return self._connection

    def commit(self) -> None:
        """Send the COMMIT and read its answer. Raises CommitInDoubt."""
        assert self._connection is not None
        self._warnings.begin()
        self._connection.execute(LOG["commit"])
        self._warnings.check()

    def was_committed(self, head: Head) -> bool:
        """Tell whether the batch that ends with `head` was committed. Waits for the end of the old transaction.

        Raises CommitInDoubt while it is not known that the standbys have it.
        """
        connection = self._connection
        assert connection is not None
        with connection.pipeline():
            connection.execute(LOG["begin"])
            connection.execute(LOG["lock_head_to_append"])
            digests = connection.execute(LOG["read_digest"], {"position": head.position})
        row = digests.fetchone()
        self.commit()
        return row is not None and bytes(row[0]) == head.digest

    def prove(self) -> None:
        """Prove that a batch could be written now: the head can be locked and moved, and no right is missing.

        Raises psycopg.Error; StoreInactive for a copy that nobody has activated, and LogBroken without a head.
        """
        connection = self._connection
        assert connection is not None
        with connection.pipeline():
            connection.execute(LOG["begin"])
            heads = connection.execute(LOG["lock_head_to_append"])
            missing = connection.execute(SQL["read_missing_rights"]).fetchall()
        connection.rollback()
        head, _ = locked_head(heads)
        if head.inactive:
            raise StoreInactive
        if missing:
            raise psycopg.errors.InsufficientPrivilege(", ".join(right for (right,) in missing))

    def roll_back(self, *, close: bool) -> None:
        """Roll back a failed batch, or close the connection; it is also closed if the rollback fails."""
        if self._connection is None:
            return
        if close:
            self._connection.close()
            return
        try:
            with answer_within(self._connection, ANSWER_SECONDS_MIN):
                self._connection.rollback()
        except psycopg.Error:
            self._connection.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
