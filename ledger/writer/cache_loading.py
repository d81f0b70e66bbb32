"""Brings the writer's cache up to the head of the log, and loads the streams that the commands of a batch need.

A writer that wrote the last batch itself reads nothing. Events of other writers are applied to the cached aggregates.
When there are too many, or when the log is not the one that was cached, the cache is cleared, and streams are read
again when a batch needs them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.domain.commands import AnyCommand, RequestPayment
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.identifiers import account_stream, stream_id
from ledger.store.array_parameters import Bigints, Texts
from ledger.store.log import SQL as LOG
from ledger.store.log import Head
from ledger.store.serialization import SNAPSHOT_TOPIC
from ledger.store.statements import load_statements
from ledger.writer.aggregate_cache import AggregateCache

SQL: Final = load_statements("ledger.writer", "writer.sql")

CATCH_UP_MAX: Final = 20_000
"""When other writers have appended more events than this, the cache is cleared instead."""

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class Asked(Struct, frozen=True):
    """Queries under way in one pipeline: the events since the last batch, and streams with their pending sums."""

    since: Cursor | None
    streams: tuple[Cursor, Cursor] | None


class CacheLoader:
    """Keeps one cache current. It reads only under the head lock, or in the pipeline that takes it."""

    def __init__(self, cache: AggregateCache) -> None:
        self._cache = cache
        # Whether another writer appended before the last batch: then one probably will before the next.
        self._overtaken = False

    def absent(self, streams: set[str]) -> set[str]:
        """Return the streams that are not cached."""
        cache = self._cache
        return {name for name in streams if name not in cache.accounts and name not in cache.payments}

    def ask(self, connection: Connection, absent: set[str]) -> Asked:
        """Query streams, and the events since the last batch if other writers have appended."""
        return Asked(
            since=self._ask_since(connection) if self._overtaken else None,
            streams=_ask_streams(connection, absent) if absent else None,
        )

    def catch_up(self, connection: Connection, head: Head, asked: Asked) -> None:
        """Bring the cache up to the head, and load the streams that were queried."""
        self._apply_since(connection, head, asked.since)
        if asked.streams is not None:
            self._load(asked.streams)

    def find(self, connection: Connection, streams: set[str]) -> None:
        """Read those of the streams that are not cached."""
        if absent := self.absent(streams):
            with connection.pipeline():
                answers = _ask_streams(connection, absent)
            self._load(answers)

    def find_accounts_of(self, connection: Connection, streams: set[str]) -> None:
        """Read the accounts of the payments among the streams, because a command need not name them."""
        payments = self._cache.payments
        accounts = {account_stream(payments[name].account_id) for name in streams if name in payments}
        self.find(connection, accounts)
        assert accounts <= self._cache.accounts.keys(), accounts - self._cache.accounts.keys()

    def _ask_since(self, connection: Connection) -> Cursor | None:
        """Query the event at the cache's position and those that others have appended after it.

        An empty cache needs no events.
        """
        cache = self._cache
        if not cache.accounts and not cache.payments:
            return None
        parameters = {"after": cache.position - 1, "upto": cache.position + CATCH_UP_MAX}
        return connection.execute(LOG["read_sealed"], parameters, prepare=True, binary=True)

    def _apply_since(self, connection: Connection, head: Head, since: Cursor | None) -> None:
        """Apply the events of other writers since the last batch; `since` is their query, if it was sent already.

        The cache is cleared instead if there are too many, or if the event at the cache's position has another seal,
        for example after the promotion of an asynchronous standby that lacked the last commits.
        """
        cache = self._cache
        behind = head.position - cache.position
        self._overtaken = behind != 0
        if behind == 0 and head.digest == cache.digest:
            return
        if not 0 <= behind <= CATCH_UP_MAX:
            cache.forget()
        since = since or self._ask_since(connection)
        if since is not None:
            rows = since.fetchall()
            if rows and len(rows) == 1 + behind and rows[0][-1] == cache.digest:
                assert rows[-1][0] == head.position, (rows[-1][0], head)
                cache.apply_foreign_events(row[:-1] for row in rows[1:])
            else:
                cache.forget()
        cache.stand_at(head)

    def _load(self, answers: tuple[Cursor, Cursor]) -> None:
        """Load the results of `_ask_streams`. A stream that does not exist is not cached."""
        rows, sums = answers
        self._cache.load(rows, dict(sums))


def streams_of(commands: Sequence[AnyCommand], keys: Iterable[IdempotencyRecord]) -> set[str]:
    """Return the streams that these commands and their idempotency records name."""
    streams = {key.stream for key in keys}
    for command in commands:
        streams.update(command.streams)
    return streams


def ask_waiting(connection: Connection, commands: Sequence[AnyCommand]) -> Cursor | None:
    """Query how many payments have not ended, for each account about which a command has a limit; None for none.

    It stops at a number that is above the limit whatever the other commands of the batch end.
    """
    limited = [command for command in commands if isinstance(command, RequestPayment) and command.waiting_max]
    if not limited:
        return None
    parameters = {
        "account_ids": Bigints({command.account_id for command in limited}),
        "most": max(command.waiting_max for command in limited) + len(commands),
    }
    return connection.execute(SQL["count_waiting"], parameters, prepare=True, binary=True)


def _ask_streams(connection: Connection, streams: set[str]) -> tuple[Cursor, Cursor]:
    """Query streams, and the pending sums of the accounts among them."""
    account_ids = Bigints(stream_id(name) for name in streams if name.startswith("account-"))
    parameters = {"streams": Texts(streams), "snapshot_topic": SNAPSHOT_TOPIC}
    rows = connection.execute(LOG["read_streams"], parameters, prepare=True, binary=True)
    sums = connection.execute(SQL["read_pending"], {"account_ids": account_ids}, prepare=True, binary=True)
    return rows, sums
