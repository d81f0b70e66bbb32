"""Fills an empty ledger with settled payments, fast: they are decided by the ledger's own code and stored by COPY.

Each payment is requested in one batch and settled in the next, as the writer does with `BATCH` commands a transaction.
It uses the same `decide` and cache, writes the same snapshots and keys, and leaves an empty queue. Only the way into
the tables differs, and the clock: the log's times are spread evenly over the days before now.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import psycopg
from msgspec import Struct

from ledger.domain.commands import (
    AnyCommand,
    OpenAccount,
    PaymentAcceptance,
    RecordGatewayOutcome,
    RequestDeposit,
    RequestWithdrawal,
    Succeed,
)
from ledger.domain.decide import decide
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.identifiers import payment_stream
from ledger.store.database import Database
from ledger.store.hash_chain import seal_rows
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, Row
from ledger.store.statements import load_statements
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from tests.benchmarks.running import OPENING

SQL: Final = load_statements("tests.benchmarks.load", "store_loader.sql")

BATCH: Final = 500
COPIED_AT_ONCE: Final = 50_000
"""The number of events in one transaction."""

DAYS: Final = 30
PAYMENTS_REMEMBERED: Final = 10_000
"""A payment is settled in the batch after its request. After that only its events are needed."""

_FEE_RATE_PPM: Final = 20_000
_EVENTS_A_PAYMENT: Final = 4.5
_EVENTS_OF_ITS_ACCOUNT: Final = 1.5

Progress = Callable[[int, int], None]
"""Called with the number of events so far and their total."""


class Store(Struct, frozen=True, kw_only=True):
    """The store to create: about so many events, exactly so many accounts, and one account of `long_account` events."""

    events: int
    accounts: int
    long_account: int = 0

    @property
    def long_share(self) -> float:
        """The share of payments that are on the first account."""
        share = self.long_account / _EVENTS_OF_ITS_ACCOUNT / (self.events / _EVENTS_A_PAYMENT)
        return max(share, 0.0)


class Loaded(Struct, frozen=True, kw_only=True):
    """The result: the numbers of events and payments, the rate, and some of the payments' ids."""

    events: int
    payments: int
    events_a_second: float
    payment_ids: list[int]


def vacuum(database: Database) -> None:
    """Vacuum a store as autovacuum does with one that has grown."""
    with closing(database.connect(application="payment-ledger bench", owner=True)) as connection:
        connection.execute(SQL["vacuum"])


def load_store(database: Database, store: Store, *, progress: Progress = lambda _done, _all: None) -> Loaded:
    """Fill an empty, migrated ledger."""
    with closing(database.connect(application="payment-ledger bench", owner=True)) as connection:
        began = time.monotonic()
        loading = _Loading(connection, store)
        loading.run(progress)
        seconds = time.monotonic() - began
    vacuum(database)
    dice = random.Random(0)
    return Loaded(
        events=loading.head.position,
        payments=loading.head.next_payment_sequence,
        events_a_second=loading.head.position / seconds,
        payment_ids=dice.sample(loading.payment_ids, min(len(loading.payment_ids), 10_000)),
    )


class _Loading:
    """A load in progress."""

    def __init__(self, connection: psycopg.Connection[Any], store: Store) -> None:
        self._connection = connection
        self._store = store
        self._dice = random.Random(store.events)
        self._cache = AggregateCache(capacity=max(store.accounts, PAYMENTS_REMEMBERED) + 1)
        row = connection.execute(LOG["read_head"], binary=True).fetchone()
        assert row is not None
        self._numbers = itertools.count()
        self._clock = datetime.now(UTC) - timedelta(days=DAYS)
        # The log's time never goes back. The head of an empty log has only the time of its migration, which nothing
        # uses.
        self.head = msgspec.structs.replace(Head(*row), at=self._clock)
        assert self.head.position == 0, "only an empty ledger can be filled"
        self._step = timedelta(days=DAYS) / max(1, store.events / (_EVENTS_A_PAYMENT / 2 * BATCH))
        self._rows: list[Row] = []
        self._keys: list[IdempotencyRecord] = []
        self._snapshots: list[Row] = []
        self._start = self.head
        self.payment_ids: list[int] = []

    def run(self, progress: Progress) -> None:
        for size in _slices(self._store.accounts):
            self._write([_opening() for _ in range(size)])
        requested: list[PaymentAcceptance] = []
        while self.head.position < self._store.events:
            answers = self._write([self._request() for _ in range(BATCH)])
            self._write([self._settle(acceptance) for acceptance in requested])
            requested = answers
            self.payment_ids += [answer.payment_id for answer in answers[:: max(1, self._store.events // 1_000_000)]]
            if len(self._rows) >= COPIED_AT_ONCE:
                self._copy()
                progress(self.head.position, self._store.events)
        self._write([self._settle(acceptance) for acceptance in requested])
        self._copy()

    def _write(self, commands: Sequence[AnyCommand]) -> list[Any]:
        """Write a batch as the writer does, without storing it."""
        self._clock = min(self._clock + self._step, datetime.now(UTC))
        batch = BatchView(self._cache, self.head, now=self._clock, keys={})
        answers = []
        for command in commands:
            decision = decide(command, batch)
            batch.apply(command, decision)
            answers.append(decision.answer)
        self._rows += batch.rows
        self._keys += batch.keys_taken
        self._snapshots += batch.snapshots
        position = self.head.position + len(batch.rows)
        self.head = Head(position, b"", batch.at, batch.next_account_id, batch.next_payment_sequence)
        batch.commit_to(self._cache, self.head)
        return answers

    def _request(self) -> AnyCommand:
        number = next(self._numbers)
        is_long = self._dice.random() < self._store.long_share
        wish = RequestDeposit if number % 2 == 0 else RequestWithdrawal
        return wish(
            command_id=f"{number:032x}",
            account_id=1 if is_long else self._dice.randint(1, self._store.accounts),
            amount=Decimal(self._dice.randint(100, 999)).scaleb(-2),
            fee_rate_ppm=_FEE_RATE_PPM,
            idempotency_key=f"loaded-{number}",
        )

    def _settle(self, acceptance: PaymentAcceptance) -> AnyCommand:
        return RecordGatewayOutcome(
            command_id=f"{acceptance.payment_id:032x}",
            payment_id=acceptance.payment_id,
            account_id=acceptance.account_id,
            seen_version=1,
            series=1,
            gateway_key=self._cache.payments[payment_stream(acceptance.payment_id)].gateway_key,
            attempt=1,
            outcome="approved",
            http_status=200,
            answer_digest=f"{acceptance.payment_id:064x}",
            elapsed_ms=3,
            then=Succeed(),
        )

    def _copy(self) -> None:
        """Store the collected events in one transaction."""
        first = self._start.position
        digests = seal_rows(self._start.digest, first, self._rows)
        sealed = [
            (*row, position, digest)
            for row, position, digest in zip(self._rows, itertools.count(first + 1), digests, strict=False)
        ]
        self.head = msgspec.structs.replace(self.head, digest=digests[-1])
        with self._connection.transaction():
            self._copy_rows("events", ("text", "int8", "text", "bytea", "int8", "bytea"), sealed)
            self._copy_rows("keys", ("text", "text", "text", "int8", "int2", "text"), map(_key_row, self._keys))
            self._copy_rows("snapshots", ("text", "int8", "text", "bytea"), self._snapshots)
            reached = {**msgspec.structs.asdict(self.head), "from_position": first}
            self._connection.execute(LOG["move_head"], reached)
        self._start = self.head
        self._rows, self._keys, self._snapshots = [], [], []

    def _copy_rows(self, table: str, types: Sequence[str], rows: Any) -> None:
        with self._connection.cursor() as cursor, cursor.copy(SQL[f"copy_{table}"]) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def _slices(count: int) -> Iterator[int]:
    while count > 0:
        yield min(BATCH, count)
        count -= BATCH


def _opening() -> OpenAccount:
    return OpenAccount(command_id="open", opening=OPENING, currency="USD", caller="bench")


def _key_row(key: IdempotencyRecord) -> tuple[Any, ...]:
    idempotency = key.idempotency
    return (
        idempotency.scope,
        idempotency.key,
        key.subject_kind,
        key.subject_id,
        idempotency.fingerprint_version,
        idempotency.fingerprint,
    )
