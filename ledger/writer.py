"""The one place where the ledger is written.

All commands of a process meet here. A thread with a connection of its own takes what has come in meanwhile and writes
it as one batch: lock the head, look up the idempotency keys, bring the books up to the head, decide each command in
memory, store everything, commit, answer. Nothing is answered before its commit.

What can go wrong, and what then happens:

* The database refuses the batch's data, or deciding meets a mistake of ours: its commands are written again one by one,
  and only the guilty one is refused.
* The connection dies before the COMMIT is sent: nothing was stored; the batch is decided again on a new connection.
* It dies after: the new connection waits for the head's lock, which the old backend holds until it is done, and then an
  event with the batch's own seal at its last position says that it was committed, anything else that it was not.
* The database stays away: commands are refused as unavailable, once their patience is over.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

import psycopg
import psycopg.errors
import stamina
import structlog
from msgspec import Struct

from ledger.answering import Waiting, all_answers, answer_all
from ledger.arrays import Bigints, Texts
from ledger.books import BatchBooks, Books, streams_of
from ledger.commands import AnyCommand, Command, OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.database import Database
from ledger.decisions import decide
from ledger.errors import (
    CommandFailed,
    CommandRejected,
    DatabaseUnavailable,
    LedgerError,
    OutcomeUnknown,
    Refusal,
    StoreWithheld,
    WriterBusy,
    WriterStopped,
)
from ledger.fail_points import fail_point
from ledger.identifiers import account_stream, opening_scope, payment_scope, payment_stream, stream_id
from ledger.keys_and_queue import ask_keys, keys_taken
from ledger.log import SQL as LOG
from ledger.log import Head, locked_head
from ledger.mapper import SNAPSHOT_TOPIC
from ledger.payment import Payment
from ledger.sql import load_statements
from ledger.storing import Storing
from ledger.wakeup import Notifier

SQL: Final = load_statements("ledger", "writer.sql")

CACHE_CAPACITY: Final = 100_000
"""How many accounts, and as many payments, are kept in memory: some 600 bytes each."""

CATCH_UP_MAX: Final = 20_000
"""When other writers have appended more events than this, the books are read anew as far as they are needed."""

PART_MAX: Final = 100
"""How many commands are decided before what they write is sent. With smaller parts two writers would be slower."""

GATHER_SECONDS: Final = 0.0015
"""How long commands gather after a batch of several, unless there are enough already."""

GATHERED_ENOUGH: Final = 24
"""So many are written at once, without waiting for more."""

SPLIT_FROM: Final = 48
"""When so many wait that came one by one, half of them are written, and the others while the first are answered.

Else all callers would be answered at once, come again at once, and the writer would have nothing to do meanwhile.
"""

PATIENCE_SECONDS: Final = 10.0
"""How long a batch waits for the database to come back before its commands are refused as unavailable."""

_SESSION: Final = {
    # Longer than any other writer may hold the head (see lock_head_to_append).
    "lock_timeout": "8s",
    # Durability is not for the session's settings to lose.
    "synchronous_commit": "on",
    # Every look-up is by key, whatever a batch's size. The server would rather plan a small batch anew each time, which
    # takes longer than to carry it out, or keep a plan made while a table was small and read all of it ever after.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}
_FAULTS_OF_DATA: Final = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)

AnswerT = TypeVar("AnswerT")
_log = structlog.get_logger()


class _Stored(Struct, frozen=True):
    """A batch that is stored but not yet known to be committed.

    `head` is the log's end as it leaves it, `appended` says whether it has moved it, `due` whether it has queued
    something that is due at once.
    """

    books: BatchBooks
    head: Head
    answers: list[Any]
    appended: bool
    due: bool


class Writer:
    """Writes commands to one partition of the ledger; any number of writers may do so at once.

    `batch_max` commands go into one transaction; beyond `queue_max` waiting ones, further commands are refused. Whoever
    `settles` payments that others accept has them in memory when their outcomes come.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch_max: int = 500,
        queue_max: int = 10_000,
        patience_seconds: float = PATIENCE_SECONDS,
        cache_capacity: int = CACHE_CAPACITY,
        settles: bool = False,
    ) -> None:
        self._database = database
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._patience_seconds = patience_seconds
        self._books = Books(capacity=cache_capacity, expect_payments=settles)
        # Whether another writer had the head before the last batch: then one will have had it before the next.
        self._overtaken = False
        self._in_company = False
        self._one_by_one = False
        self._connection: psycopg.Connection[Any] | None = None
        self._notifier = Notifier(database)
        self._waiting: deque[Waiting] = deque()
        self._arrived = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    # --- for callers ---

    def start(self) -> None:
        """Start the thread."""
        self._notifier.start()
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Write what is waiting, refuse what comes later, and end the thread.

        What could not be written within `timeout_seconds` is refused as well, so that every caller gets an answer.
        """
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        self._thread.join(timeout_seconds)
        with self._arrived:
            left = list(self._waiting)
            self._waiting.clear()
        answer_all([(waiting, WriterStopped()) for waiting in left])
        self._thread.join()
        self._notifier.stop()
        if self._connection is not None:
            self._connection.close()

    def submit(self, command: Command[AnswerT]) -> "Future[AnswerT]":
        """Hand a command over from a thread; its answer or its refusal is the future's.

        Raises WriterBusy, WriterStopped.
        """
        future: Future[AnswerT] = Future()
        self._enter([Waiting(cast("AnyCommand", command), future)])
        return future

    async def execute(self, command: Command[AnswerT]) -> AnswerT:
        """Hand a command over from an event loop and wait for its answer.

        Raises the command's refusals; WriterBusy, WriterStopped, DatabaseUnavailable, OutcomeUnknown.
        """
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._enter([Waiting(cast("AnyCommand", command), future)])
        return await future

    async def execute_all(self, commands: Sequence[Command[AnswerT]]) -> "list[AnswerT | LedgerError]":
        """Hand several commands over, in order, and wait for all answers; refusals stand among them.

        Raises WriterBusy, WriterStopped: then none of them was carried out.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[AnswerT]] = [loop.create_future() for _ in commands]
        waiting = zip(cast("Sequence[AnyCommand]", commands), futures, strict=True)
        self._enter([Waiting(command, future) for command, future in waiting])
        return await all_answers(futures)

    @property
    def waiting(self) -> int:
        """How many commands wait to be written."""
        return len(self._waiting)

    def _enter(self, waiting: Sequence[Waiting]) -> None:
        with self._arrived:
            if self._stopping:
                raise WriterStopped
            if len(self._waiting) + len(waiting) > self._queue_max:
                raise WriterBusy
            self._waiting.extend(waiting)
            self._one_by_one = len(waiting) == 1
            self._arrived.notify()

    # --- the thread ---

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 - the thread has to live on, and its callers to get an answer
                _log.exception("writer_failed", commands=len(batch))
                self._start_over()
                failure = error if isinstance(error, LedgerError) else OutcomeUnknown()
                answer_all([(waiting, failure) for waiting in batch])

    def _take(self) -> list[Waiting]:
        with self._arrived:
            while not self._waiting and not self._stopping:
                self._arrived.wait()
        if self._in_company and len(self._waiting) < GATHERED_ENOUGH and not self._stopping:
            time.sleep(GATHER_SECONDS)
        with self._arrived:
            waiting = len(self._waiting)
            if self._one_by_one and waiting >= SPLIT_FROM:
                waiting = (waiting + 1) // 2
            count = min(waiting, self._batch_max)
            self._in_company = count > 1
            return [self._waiting.popleft() for _ in range(count)]

    def _write(self, batch: list[Waiting]) -> None:
        """Write a batch and answer it, through whatever happens to the connection meanwhile."""
        deadline = time.monotonic() + self._patience_seconds
        in_doubt: _Stored | None = None
        while True:
            try:
                connection = self._connected(deadline)
                if in_doubt is None or not self._was_committed(connection, in_doubt):
                    in_doubt = None
                    stored = self._decide_and_store(connection, [waiting.command for waiting in batch])
                    fail_point("writer.before_commit")
                    in_doubt = stored
                    connection.execute(LOG["commit"])
                    fail_point("writer.after_commit")
            except _FAULTS_OF_DATA as fault:
                self._start_over()
                self._write_singly(batch, CommandRejected(sqlstate=fault.sqlstate or ""))
            except psycopg.Error as error:
                _log.warning("writer_interrupted", sqlstate=error.sqlstate, in_doubt=in_doubt is not None)
                self._start_over()
                if time.monotonic() < deadline and not self._stopping:
                    continue
                failure = DatabaseUnavailable() if in_doubt is None else OutcomeUnknown()
                answer_all([(waiting, failure) for waiting in batch])
            except StoreWithheld as withheld:
                self._start_over()
                answer_all([(waiting, withheld) for waiting in batch])
            except LedgerError:
                raise
            except Exception as mistake:  # noqa: BLE001 - whatever it is, it is to spoil no other command
                self._mistaken(batch, mistake, committing=in_doubt is not None)
            else:
                self._committed(batch, in_doubt)
            return

    def _mistaken(self, batch: list[Waiting], mistake: Exception, *, committing: bool) -> None:
        """Find the command that meets a mistake of ours; once the COMMIT was sent, to do it again might do it twice."""
        if committing:
            raise mistake
        _log.exception("deciding_failed", commands=len(batch))
        self._start_over()
        self._write_singly(batch, CommandFailed(what=f"{type(mistake).__name__}: {mistake}"))

    def _write_singly(self, batch: list[Waiting], fault: CommandRejected | CommandFailed) -> None:
        """Find the command that cannot be carried out, so that only that one is refused."""
        if len(batch) > 1:
            for waiting in batch:
                self._write([waiting])
            return
        _log.warning("command_refused", command=type(batch[0].command).__name__, code=fault.code, **fault.facts)
        answer_all([(batch[0], fault)])

    def _committed(self, batch: list[Waiting], stored: _Stored) -> None:
        self._books.keep(stored.books, stored.head)
        if stored.appended:
            self._notifier.notify("log")
        if stored.due:
            self._notifier.notify("queue")
        fail_point("writer.before_answer")
        answer_all(list(zip(batch, stored.answers, strict=True)))
        fail_point("writer.after_answer")

    # --- one transaction ---

    def _decide_and_store(self, connection: psycopg.Connection[Any], commands: list[AnyCommand]) -> _Stored:
        """Do all of a transaction but its COMMIT."""
        head, batch = self._begin(connection, commands)
        fail_point("writer.before_insert")
        answers: list[Any] = []
        with connection.pipeline():
            storing = Storing(connection, head, batch)
            for first in range(0, len(commands), PART_MAX):
                answers += [_answer(command, batch) for command in commands[first : first + PART_MAX]]
                storing.send()
            storing.end()
        fail_point("writer.after_insert")
        reached = storing.check()
        return _Stored(batch, reached, answers, appended=reached.position > head.position, due=storing.due)

    def _begin(self, connection: psycopg.Connection[Any], commands: list[AnyCommand]) -> tuple[Head, BatchBooks]:
        """Lock the head and bring the books up to it, with all that these commands need."""
        asked = {key for command in commands if (key := _key_of(command)) is not None}
        absent = self._absent(streams_of(commands, ()))
        fail_point("writer.before_lock")
        with connection.pipeline():
            connection.execute(LOG["begin"])
            heads = connection.execute(LOG["lock_head_to_append"], prepare=True, binary=True)
            keys = ask_keys(connection, asked) if asked else None
            since = self._ask_since(connection) if self._overtaken else None
            streams = _ask_streams(connection, absent) if absent else None
        head, clock = locked_head(heads)
        fail_point("writer.after_lock")
        if head.withheld:
            raise StoreWithheld
        taken = {} if keys is None else keys_taken(keys)
        self._catch_up(connection, head, since)
        if streams is not None:
            self._learn(streams)
        self._find(connection, streams_of(commands, taken.values()) - absent)
        # A payment is on an account that the command need not name.
        self._find(connection, {account_stream(p.account_id) for p in self._payments_of(commands)})
        return head, BatchBooks(self._books, head, at=max(clock, head.at), keys=taken)

    def _ask_since(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any] | None:
        """Ask for the event at the books' position and for those that others have appended after it.

        Empty books have nothing to catch up with.
        """
        books = self._books
        if not books.accounts and not books.payments:
            return None
        parameters = {"after": books.position - 1, "upto": books.position + CATCH_UP_MAX}
        return connection.execute(LOG["read_sealed"], parameters, prepare=True, binary=True)

    def _catch_up(self, connection: psycopg.Connection[Any], head: Head, since: psycopg.Cursor[Any] | None) -> None:
        """Apply what other writers have appended since the last batch; `since` has it if it was asked for already.

        All is forgotten instead when that is too much, or when the log at the books' position is not the one they are
        of, as when a standby that had not received everything was promoted.
        """
        books = self._books
        behind = head.position - books.position
        self._overtaken = behind != 0
        if behind == 0 and head.digest == books.digest:
            return
        if not 0 <= behind <= CATCH_UP_MAX:
            books.forget()
        since = since or self._ask_since(connection)
        if since is not None:
            rows = since.fetchall()
            if rows and len(rows) == 1 + behind and rows[0][-1] == books.digest:
                books.absorb(row[:-1] for row in rows[1:])
            else:
                books.forget()
        books.stand_at(head)

    def _find(self, connection: psycopg.Connection[Any], streams: set[str]) -> None:
        """Read streams that turn out not to be in memory."""
        if absent := self._absent(streams):
            with connection.pipeline():
                answers = _ask_streams(connection, absent)
            self._learn(answers)

    def _absent(self, streams: set[str]) -> set[str]:
        books = self._books
        return {name for name in streams if name not in books.accounts and name not in books.payments}

    def _learn(self, answers: "tuple[psycopg.Cursor[Any], psycopg.Cursor[Any]]") -> None:
        """Take in what `_ask_streams` has been answered; a stream that does not exist stays unknown."""
        rows, sums = answers
        self._books.learn(rows, dict(sums))

    def _payments_of(self, commands: list[AnyCommand]) -> Iterable[Payment]:
        for command in commands:
            payment_id = getattr(command, "payment_id", None)
            if payment_id is not None and (payment := self._books.payments.get(payment_stream(payment_id))):
                yield payment

    def _was_committed(self, connection: psycopg.Connection[Any], stored: _Stored) -> bool:
        """Find out what became of a batch whose COMMIT got no answer, once its old backend is surely done."""
        if not stored.appended:
            return False
        with connection.pipeline():
            connection.execute(LOG["begin"])
            connection.execute(LOG["lock_head_to_append"])
            digests = connection.execute(LOG["read_digest"], {"position": stored.head.position})
        row = digests.fetchone()
        connection.rollback()
        return row is not None and bytes(row[0]) == stored.head.digest

    # --- the connection ---

    def _connected(self, deadline: float) -> psycopg.Connection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, psycopg.OperationalError) and not self._stopping,
            attempts=None,
            timeout=max(0.1, deadline - time.monotonic()),
            wait_initial=0.05,
            wait_max=1.0,
            wait_jitter=0.05,
        ):
            with attempt:
                self._connection = self._database.connect_to_repeat(
                    application="payment-ledger writer", options=_SESSION
                )
        assert self._connection is not None
        return self._connection

    def _start_over(self) -> None:
        """Leave no trace of a failed batch: neither in the books nor in the session."""
        self._books.forget()
        self._books.position, self._books.digest = 0, b""
        if self._connection is not None:
            try:
                self._connection.rollback()
            except psycopg.Error:
                self._connection.close()


# --- parts -----------------------------------------------------------------------------------------------------------


def _answer(command: AnyCommand, batch: BatchBooks) -> Any:  # noqa: ANN401 - each command has its own
    """Decide a command and apply it, and give its answer or its refusal."""
    try:
        decision = decide(command, batch)
    except Refusal as refusal:
        return refusal
    batch.apply(command, decision)
    return decision.answer


def _ask_streams(
    connection: psycopg.Connection[Any], streams: set[str]
) -> "tuple[psycopg.Cursor[Any], psycopg.Cursor[Any]]":
    """Ask for streams, and for what the deposits on their way to the accounts among them would credit."""
    account_ids = Bigints(stream_id(name) for name in streams if name.startswith("account-"))
    parameters = {"streams": Texts(streams), "snapshot_topic": SNAPSHOT_TOPIC}
    rows = connection.execute(LOG["read_streams"], parameters, prepare=True, binary=True)
    sums = connection.execute(SQL["read_pending"], {"account_ids": account_ids}, prepare=True, binary=True)
    return rows, sums


def _key_of(command: AnyCommand) -> tuple[str, str] | None:
    """The scope and key under which a command looks for an earlier one like it."""
    if isinstance(command, RequestDeposit | RequestWithdrawal) and command.idempotency_key is not None:
        return payment_scope(command.account_id), command.idempotency_key
    if isinstance(command, OpenAccount) and command.idempotency_key is not None:
        return opening_scope(command.caller), command.idempotency_key
    return None
