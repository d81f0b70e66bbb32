"""The transaction of a batch: lock the head, decide the commands in memory, and store everything before the COMMIT."""

import time
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.domain.commands import AnyCommand
from ledger.domain.decide import decide
from ledger.domain.identifiers import Slots
from ledger.errors import Refusal, StoreInactive, TooManyWaiting
from ledger.fail_points import fail_point
from ledger.store.idempotency_keys import ask_keys, keys_taken
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, locked_head
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_inserts import BatchInserts
from ledger.writer.batch_view import BatchView
from ledger.writer.cache_loading import CacheLoader, ask_waiting, streams_of

PART_MAX: Final = 100
"""Commands that are decided before their inserts are sent. With smaller parts two writers would be slower."""


class StoredBatch(Struct, frozen=True):
    """A batch that is stored but not yet known to be committed.

    `head` is the head after the batch, `appended` says whether the batch has moved it, `due` whether the batch has
    enqueued an entry that is due at once. `head_wait_seconds` is how long locking the head and the first look-ups took.
    """

    view: BatchView
    head: Head
    answers: list[Any]
    appended: bool
    due: bool
    head_wait_seconds: float


class BatchTransaction:
    """Decides and stores batches, one after the other, with a cache that is true for the last committed one."""

    def __init__(self, cache: AggregateCache, slots: Slots) -> None:
        self._cache = cache
        self._slots = slots
        self._loader = CacheLoader(cache)

    def decide_and_store(self, connection: psycopg.Connection[Any], commands: list[AnyCommand]) -> StoredBatch:
        """Do all of a transaction but its COMMIT. Raises StoreInactive, LogBroken and what psycopg raises."""
        head, batch, head_wait_seconds = self._begin(connection, commands)
        fail_point("writer.before_insert")
        answers: list[Any] = []
        with connection.pipeline():
            storing = BatchInserts(connection, head, batch)
            for first in range(0, len(commands), PART_MAX):
                answers += [_answer(command, batch) for command in commands[first : first + PART_MAX]]
                storing.send()
            storing.end()
        fail_point("writer.after_insert")
        assert len(answers) == len(commands), (len(answers), len(commands))
        reached = storing.check()
        return StoredBatch(
            batch,
            reached,
            answers,
            appended=reached.position > head.position,
            due=storing.due,
            head_wait_seconds=head_wait_seconds,
        )

    def remember(self, stored: StoredBatch) -> None:
        """Load what a batch has changed into the cache, once its COMMIT was answered."""
        stored.view.commit_to(self._cache, stored.head)

    def forget(self) -> None:
        """Forget all streams, after a batch that failed or whose COMMIT got no answer."""
        self._cache.forget()
        self._cache.position, self._cache.digest = 0, b""

    def _begin(self, connection: psycopg.Connection[Any], commands: list[AnyCommand]) -> tuple[Head, BatchView, float]:
        """Lock the head, bring the cache up to it, and load the streams of these commands.

        The last of its answers is how many seconds the lock took.
        """
        asked = {key for command in commands if (key := command.key) is not None}
        named = streams_of(commands, ())
        absent = self._loader.absent(named)
        fail_point("writer.before_lock")
        began = time.perf_counter()
        with connection.pipeline():
            connection.execute(LOG["begin"])
            heads = connection.execute(LOG["lock_head_to_append"], prepare=True, binary=True)
            keys = ask_keys(connection, asked) if asked else None
            streams = self._loader.ask(connection, absent)
            waiting = ask_waiting(connection, commands)
        head_wait_seconds = time.perf_counter() - began
        head, clock = locked_head(heads)
        fail_point("writer.after_lock")
        if head.inactive:
            raise StoreInactive
        taken = {} if keys is None else keys_taken(keys)
        self._loader.catch_up(connection, head, streams)
        self._loader.find(connection, (named | streams_of((), taken.values())) - absent)
        self._loader.find_accounts_of(connection, named)
        counts = {} if waiting is None else dict(waiting.fetchall())
        batch = BatchView(self._cache, head, now=clock, keys=taken, slots=self._slots, waiting=counts)
        return head, batch, head_wait_seconds


def _answer(command: AnyCommand, batch: BatchView) -> Any:  # noqa: ANN401 - each command has its own
    """Decide a command and apply it. Returns its answer or its refusal."""
    try:
        decision = decide(command, batch)
    except (Refusal, TooManyWaiting) as refusal:
        return refusal
    batch.apply(command, decision)
    return decision.answer
