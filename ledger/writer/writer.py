"""The one place where the ledger is written.

All commands of a process go through here. A thread with its own connection (`session`) takes the waiting commands and
writes them as one batch: lock the head, look up the idempotency keys, bring the cache up to the head
(`cache_loading`), decide each command in memory, store everything, commit, answer. No command is answered before its
commit.

Faults, and the reaction to each:

* The database refuses the batch's data, or deciding hits a bug: the commands are retried one by one, and only the
  faulty one is refused.
* The connection is lost before the COMMIT is sent, or the session cannot write: nothing was stored, and the batch is
  decided again after a pause, on a new connection. `ledger.sessions.sqlstates` lists the meaning of each error.
* The connection is lost after that, or the COMMIT is answered with a warning: the session finds out whether the batch
  was committed (`session`).
* Another session has stored the same position, although the head was locked: the batch is decided again, a few times.
* The server does not answer: its connection is cut, and counts as lost (`ledger.sessions.answer_limit`).
* The database cannot be reached, or hangs: after `patience_seconds` the callers are answered (`patience`).
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import takewhile
from typing import Any, Final, TypeVar, cast

import psycopg
import structlog

from ledger.domain.commands import AnyCommand, Command
from ledger.domain.identifiers import ALL_SLOTS, Slots
from ledger.errors import (
    CommandFailed,
    CommandRejected,
    DatabaseUnavailable,
    LedgerError,
    LogBroken,
    OutcomeUnknown,
    PoolerSharesSessions,
    SessionRefused,
    StoreBroken,
    StoreInactive,
    WriterBusy,
    WriterStopped,
)
from ledger.fail_points import fail_point
from ledger.micro_batch import COMMANDS
from ledger.observe import report
from ledger.recovery.noted_head import NotedHeads
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.sqlstates import Batch, meaning_of
from ledger.store.database import Database
from ledger.store.notifications import Notifier
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_in_progress import BatchInProgress, GivenUp
from ledger.writer.batch_transaction import BatchTransaction, StoredBatch
from ledger.writer.callers import AnyFuture, PendingCommand, all_answers, answer_all
from ledger.writer.patience import PATIENCE_SECONDS, Patience
from ledger.writer.session import WriterSession, answer_seconds
from ledger.writer.standing import WriterStanding

CACHE_CAPACITY: Final = 100_000
"""Cached accounts, and as many payments: about 600 bytes each."""


READY_SECONDS_MAX: Final = 1.0
"""How long a question whether the writer can write waits for its answer."""

TRIES_MAX: Final = 4
"""How often a batch is decided when something stands against it that may be the data's fault or the server's."""

AnswerT = TypeVar("AnswerT")
_log = structlog.get_logger()


class Writer:
    """Writes commands to one partition of the ledger; any number of writers may do so at once.

    At most `batch_max` commands go into one transaction. Above `queue_max` waiting ones, further commands are refused.
    With `caches_foreign_payments`, payments that other writers accepted are in memory when their outcomes arrive. With
    `noted_heads`, committed heads are noted outside the database.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch_max: int = 500,
        queue_max: int = 10_000,
        patience_seconds: float = PATIENCE_SECONDS,
        cache_capacity: int = CACHE_CAPACITY,
        caches_foreign_payments: bool = False,
        slots: Slots = ALL_SLOTS,
        noted_heads: NotedHeads | None = None,
    ) -> None:
        self.noted_heads = noted_heads
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._patience = Patience(patience_seconds, self._take_late)
        cache = AggregateCache(capacity=cache_capacity, expect_payments=caches_foreign_payments)
        self._transaction = BatchTransaction(cache, slots)
        self._last_had_several = False
        self._session = WriterSession(database, noted_heads)
        self._standing = WriterStanding()
        self._notifier = Notifier(database)
        self._waiting: deque[PendingCommand] = deque()
        self._waiting_alone = 0
        self._arrived = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    # --- for callers ---

    def start(self) -> None:
        """Start the thread."""
        self._notifier.start()
        self._patience.start()
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Write the waiting commands, refuse later ones, and end the thread.

        Commands that are not written within `timeout_seconds` are refused too, so that every caller gets an answer.
        """
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        self._thread.join(timeout_seconds)
        with self._arrived:
            left = self._take_first(len(self._waiting))
        answer_all([(waiting, WriterStopped()) for waiting in left])
        self._thread.join()
        self._patience.stop()
        self._notifier.stop()
        self._session.close()
        if self.noted_heads is not None:
            self.noted_heads.flush()

    def submit(self, command: Command[AnswerT]) -> "Future[AnswerT]":
        """Submit a command from a thread. The future gets its answer or its refusal.

        Raises WriterBusy, WriterStopped.
        """
        future: Future[AnswerT] = Future()
        self._enter([command], [future])
        return future

    async def execute(self, command: Command[AnswerT]) -> AnswerT:
        """Submit a command from an event loop and wait for its answer.

        Raises the command's refusals; WriterBusy, WriterStopped, DatabaseUnavailable, OutcomeUnknown.
        """
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._enter([command], [future])
        return await future

    async def execute_all(self, commands: Sequence[Command[AnswerT]]) -> "list[AnswerT | LedgerError]":
        """Submit several commands, in order, and wait for all answers. Refusals are elements of the list.

        Raises WriterBusy, WriterStopped; then none of them is carried out.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[AnswerT]] = [loop.create_future() for _ in commands]
        self._enter(commands, futures)
        return await all_answers(futures)

    @property
    def waiting(self) -> int:
        """The number of commands that wait to be written."""
        return len(self._waiting)

    @property
    def trouble(self) -> str | None:
        """Why the last batch could not be written; None when it could."""
        return self._standing.trouble

    async def can_write(self) -> bool:
        """Tell, within READY_SECONDS_MAX, whether commands can be written now."""
        if self._standing.is_fresh:
            return True
        asker = self._standing.ask()
        with self._arrived:
            self._arrived.notify()
        await asyncio.wait({asker}, timeout=READY_SECONDS_MAX)
        return asker.done() and asker.result()

    def _enter(self, commands: Sequence[Command[Any]], futures: Sequence[AnyFuture]) -> None:
        now, alone = time.monotonic(), len(commands) == 1
        pairs = zip(cast("Sequence[AnyCommand]", commands), futures, strict=True)
        waiting = [PendingCommand(command, future, now, alone=alone) for command, future in pairs]
        with self._arrived:
            if self._stopping:
                raise WriterStopped
            if len(self._waiting) + len(waiting) > self._queue_max:
                raise WriterBusy
            self._waiting.extend(waiting)
            self._waiting_alone += alone
            self._arrived.notify()

    # --- the thread ---

    def _run(self) -> None:
        while (batch := self._take()) or not self._stopping:
            try:
                if batch:
                    self._write(batch)
                else:
                    self._prove()
            except Exception as error:  # noqa: BLE001 - the thread must go on, and its callers need an answer
                _log.exception("writer_failed", commands=len(batch))
                self._start_over(close=True)
                self._standing.failed(str(error))
                failure = error if isinstance(error, LedgerError) else OutcomeUnknown()
                answer_all([(waiting, failure) for waiting in batch])

    def _take(self) -> list[PendingCommand]:
        """Take the next batch; none when the writer is stopping, or is asked whether it can write."""
        with self._arrived:
            while not self._waiting and not self._stopping:
                if self._standing.is_asked:
                    return []
                self._arrived.wait()
        if self._last_had_several and not self._stopping and (pause := COMMANDS.pause_before(len(self._waiting))):
            time.sleep(pause)  # even a pause of 0 would hand the interpreter to another thread, and wait to get it back
        with self._arrived:
            count = min(COMMANDS.batch_of(len(self._waiting), alone=self._waiting_alone), self._batch_max)
            # None is left when the patience of all has ended since the thread was woken.
            self._last_had_several = count > 1
            return self._take_first(count)

    def _take_first(self, count: int) -> list[PendingCommand]:
        """Take commands from the front of the queue. The caller holds its lock."""
        taken = [self._waiting.popleft() for _ in range(count)]
        self._waiting_alone -= sum(each.alone for each in taken)
        return taken

    def _take_late(self, until: float) -> list[PendingCommand]:
        """Take the commands that arrived at a time of the monotonic clock or before, and were not taken yet."""
        with self._arrived:
            return self._take_first(sum(1 for _ in takewhile(lambda each: each.arrived <= until, self._waiting)))

    def _prove(self) -> None:
        """Find out whether a batch could be written now."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        try:
            connection = self._session.connect(deadline=deadline, is_stopping=lambda: True)
            with answer_within(connection, answer_seconds(deadline)):
                self._session.prove()
        except psycopg.Error as error:
            meaning = meaning_of(error)
            self._start_over(close=meaning.ends_session)
            self._standing.failed(meaning.words, sqlstate=error.sqlstate)
        except (StoreBroken, StoreInactive) as error:
            self._start_over()
            self._standing.failed(str(error))
        else:
            self._standing.succeeded()

    def _write(self, batch: list[PendingCommand]) -> None:
        """Write a batch and answer it. Reconnects and retries as needed."""
        assert 0 < len(batch) <= self._batch_max, len(batch)
        self._write_watched(self._patience.watch(batch))

    def _write_watched(self, writing: BatchInProgress) -> None:
        with self._patience.spent(writing):
            while not self._try(writing):
                pass

    def _try(self, writing: BatchInProgress) -> bool:
        """Try to write a batch once; tell whether its callers are answered now."""
        writing.tries += 1
        try:
            stored = self._store_and_commit(writing)
        except GivenUp:
            self._start_over()
        except psycopg.Error as error:
            return self._interrupted(writing, error)
        except StoreInactive as inactive:
            self._start_over()
            self._standing.failed(str(inactive))
            writing.answer(inactive)
        except StoreBroken as broken:
            return self._store_broken(writing, broken)
        except Exception as bug:  # noqa: BLE001 - no bug may affect the other commands
            self._isolate_bug(writing.batch, bug, committing=writing.in_doubt is not None)
        else:
            self._committed(writing, stored)
        return True

    def _store_and_commit(self, writing: BatchInProgress) -> StoredBatch:
        """Write a batch and commit it, unless an earlier COMMIT of it turns out to have happened."""
        connection = self._session.connect(deadline=writing.deadline, is_stopping=lambda: self._stopping)
        with answer_within(connection, answer_seconds(writing.deadline)):
            in_doubt = writing.in_doubt
            if in_doubt is not None and in_doubt.appended and self._session.was_committed(in_doubt.head):
                return in_doubt
            writing.in_doubt = None
            writing.check()
            stored = self._transaction.decide_and_store(connection, [waiting.command for waiting in writing.batch])
            fail_point("writer.before_commit")
            writing.begin_commit(stored)
            began = time.perf_counter()
            self._session.commit()
            writing.commit_seconds = time.perf_counter() - began
            # Only here: after a COMMIT without an answer the cache is empty, and the accounts of the batch would be
            # cached without their pending sums.
            self._transaction.remember(stored)
            fail_point("writer.after_commit")
            return stored

    def _interrupted(self, writing: BatchInProgress, error: psycopg.Error) -> bool:
        """Do what an error of the database asks for; tell whether the callers are answered now."""
        meaning = meaning_of(error)
        committing = writing.in_doubt is not None
        self._start_over(close=meaning.ends_session)
        decide_singly = meaning.batch is Batch.SINGLY or (
            meaning.batch is Batch.AGAIN_THEN_SINGLY and writing.tries >= TRIES_MAX
        )
        if decide_singly and not committing:
            is_rejected = meaning.is_of_data
            self._write_singly(
                writing.batch, CommandRejected(sqlstate=error.sqlstate or "") if is_rejected else DatabaseUnavailable()
            )
            return True
        self._standing.failed(meaning.words, sqlstate=error.sqlstate, in_doubt=committing)
        if self._pause(writing):
            return False
        writing.answer(OutcomeUnknown() if committing else DatabaseUnavailable())
        return True

    def _store_broken(self, writing: BatchInProgress, broken: StoreBroken) -> bool:
        """Pause before the next try where one may help; tell whether the callers are answered now. Raises StoreBroken.

        A pooler that is restarted may drop options, and the next session may have them. The head can be missing, or
        move under its lock, while its table moves to another node. While a COMMIT is in doubt, every error is waited
        for: only the log, or `outcome_unknown`, can answer its callers.
        """
        committing = writing.in_doubt is not None
        of_session = isinstance(broken, SessionRefused | PoolerSharesSessions)
        once_more = isinstance(broken, LogBroken) and writing.tries < TRIES_MAX
        self._start_over()
        self._standing.failed(str(broken), in_doubt=committing)
        if (committing or of_session or once_more) and self._pause(writing):
            return False
        if not (committing or of_session):
            raise broken
        writing.answer(OutcomeUnknown() if committing else DatabaseUnavailable())
        return True

    def _pause(self, writing: BatchInProgress) -> bool:
        """Pause before the next try, and tell whether there may be one: not after the deadline, nor after a stop."""
        seconds = min(writing.pauses.next_seconds(), writing.deadline - time.monotonic())
        with self._arrived:
            self._arrived.wait_for(lambda: self._stopping, max(0.0, seconds))
            return not self._stopping and time.monotonic() < writing.deadline

    def _isolate_bug(self, batch: list[PendingCommand], bug: Exception, *, committing: bool) -> None:
        """Isolate the command that hit a bug by retrying one by one.

        Never after COMMIT was sent, which could apply it twice.
        """
        if committing:
            raise bug
        _log.exception("deciding_failed", commands=len(batch))
        self._start_over()
        self._write_singly(batch, CommandFailed(what=f"{type(bug).__name__}: {bug}"))

    def _write_singly(self, batch: list[PendingCommand], fault: LedgerError) -> None:
        """Retry commands one by one, so that only the faulty one is refused."""
        if len(batch) > 1:
            singles = [self._patience.watch([waiting]) for waiting in batch]  # before the first of them is tried
            for writing in singles:
                self._write_watched(writing)
            return
        _log.warning("command_refused", command=type(batch[0].command).__name__, code=fault.code, **fault.facts)
        answer_all([(batch[0], fault)])

    def _committed(self, writing: BatchInProgress, stored: StoredBatch) -> None:
        batch = writing.batch
        self._standing.succeeded()
        if stored.appended:
            self._notifier.notify("log")
            if self.noted_heads is not None:
                self.noted_heads.note(stored.head)
        if stored.due:
            self._notifier.notify("queue")
        fail_point("writer.before_answer")
        answer_all(list(zip(batch, stored.answers, strict=True)))
        fail_point("writer.after_answer")
        report(writing.measured(stored))

    def _start_over(self, *, close: bool = False) -> None:
        """Discard a failed batch: clear the cache, and roll back the session or close it."""
        self._transaction.forget()
        self._session.roll_back(close=close)
