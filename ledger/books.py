"""The ledger's accounts and payments in memory, as of one position of the log.

`Books` belong to a writer: a bounded cache of what it has met, brought up to the log's head before each batch.
`BatchBooks` lie over them while a batch is decided, so that each command sees the ones before it; they become part of
the books when the batch is committed and vanish without a trace when it is not.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.commands import AnyCommand
from ledger.decisions import Decision, KeyTaken, QueueEntry
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.events import (
    AccountOpened,
    AnyEvent,
    PaymentEnded,
    PaymentRequested,
    PaymentRequeued,
    Recorded,
)
from ledger.identifiers import account_stream, payment_stream
from ledger.log import Head, Row
from ledger.mapper import SNAPSHOT_TOPIC, decode, decode_snapshot, encode, encode_snapshot
from ledger.payment import Payment

SNAPSHOT_EVERY: Final = 4
"""An account gets a snapshot when its version passes a multiple of this.

An account that is not in memory is read from its snapshot on, and each event after that lies on a page of its own.
"""

_PENDING_TOPICS: Final = frozenset({"payment.requested", "payment.requeued", "payment.succeeded", "payment.failed"})


class Books:
    """What a writer remembers: at most `capacity` accounts and as many payments, those changed longest ago forgotten.

    For each account in memory `pending_minor` has the sum that the deposits on their way would credit. Books that
    `expect_payments` also remember payments that other writers have accepted.
    """

    def __init__(self, *, capacity: int, expect_payments: bool = False) -> None:
        self.accounts: OrderedDict[str, Account] = OrderedDict()
        self.payments: OrderedDict[str, Payment] = OrderedDict()
        self.pending_minor: dict[str, int] = {}
        self.position = 0
        self.digest = b""
        self._capacity = capacity
        self._expect_payments = expect_payments

    def forget(self) -> None:
        """Drop everything, so that all is read anew."""
        self.accounts.clear()
        self.payments.clear()
        self.pending_minor.clear()

    def stand_at(self, head: Head) -> None:
        """Note the position that the books are true for."""
        self.position, self.digest = head.position, head.digest

    def absorb(self, rows: Iterable[tuple[int, str, int, str, bytes]]) -> None:
        """Take in events that other writers have appended (position, stream, version, topic, state).

        A payment that others go on with is forgotten, because most of its commands then come to them.
        """
        for _, stream, version, topic, state in rows:
            account = self.accounts.get(stream)
            if account is not None:
                if version > account.version:
                    assert version == account.version + 1, stream
                    self._put(stream, _evolve(account, decode(stream, version, topic, state)))
                continue
            requested = topic == PaymentRequested.TOPIC
            if not requested:
                self.payments.pop(stream, None)
            if topic not in _PENDING_TOPICS:
                continue
            recorded = decode(stream, version, topic, state)
            self._absorb_pending(recorded.data)
            if requested and self._expect_payments and stream not in self.payments:
                self._put(stream, _evolve(None, recorded))

    def _absorb_pending(self, event: AnyEvent) -> None:
        account_id, change_minor = pending_change(event)
        stream = account_stream(account_id)
        if change_minor and stream in self.pending_minor:
            self.pending_minor[stream] += change_minor

    def learn(self, rows: Iterable[tuple[str, int, str, bytes]], pending_minor: dict[int, int]) -> None:
        """Take in streams read from the store (stream, version, topic, state), whole or from their snapshot on."""
        learnt: dict[str, Account | Payment] = {}
        for stream, version, topic, state in sorted(rows, key=lambda row: (row[0], row[1])):
            if topic == SNAPSHOT_TOPIC:
                learnt[stream] = decode_snapshot(state)
            else:
                learnt[stream] = _evolve(learnt.get(stream), decode(stream, version, topic, state))
        for stream, aggregate in learnt.items():
            self._put(stream, aggregate)
            if isinstance(aggregate, Account):
                self.pending_minor[stream] = pending_minor.get(aggregate.account_id, 0)

    def keep(self, batch: "BatchBooks", head: Head) -> None:
        """Make a committed batch part of the books, and forget what was changed longest ago."""
        for stream, account in batch.accounts.items():
            self._put(stream, account)
        for stream, payment in batch.payments.items():
            self._put(stream, payment)
        self.pending_minor.update(batch.pending)
        self.stand_at(head)
        while len(self.accounts) > self._capacity:
            stream, _ = self.accounts.popitem(last=False)
            del self.pending_minor[stream]
        while len(self.payments) > self._capacity:
            self.payments.popitem(last=False)

    def _put(self, stream: str, aggregate: Account | Payment) -> None:
        if isinstance(aggregate, Account):
            self.accounts[stream] = aggregate
            self.accounts.move_to_end(stream)
        else:
            self.payments[stream] = aggregate
            self.payments.move_to_end(stream)


class Writes(Struct, frozen=True):
    """What decisions write: events, the idempotency keys that they take, and what the gateway queue gets and loses."""

    rows: list[Row]
    keys_taken: list[KeyTaken]
    enqueued: dict[int, QueueEntry]
    dequeued: set[int]


class BatchBooks:
    """The ledger as a batch sees it and leaves it: the `View` of its decisions, and all that it will write.

    It may be written in parts: what `take` has given does not stand here any more.
    """

    def __init__(self, books: Books, head: Head, *, at: datetime, keys: dict[tuple[str, str], KeyTaken]) -> None:
        self.at = at
        self.next_account_id = head.next_account_id
        self.next_payment_sequence = head.next_payment_sequence
        self.accounts: dict[str, Account] = {}
        self.payments: dict[str, Payment] = {}
        self.pending: dict[str, int] = {}
        self.rows: list[Row] = []
        self.keys_taken: list[KeyTaken] = []
        self.enqueued: dict[int, QueueEntry] = {}
        self.dequeued: set[int] = set()
        self._snapshots_due: set[str] = set()
        self._keys = keys
        self._books = books

    # --- the view ---

    def account(self, account_id: int) -> Account:
        """Give an account. Raises AccountNotFound."""
        stream = account_stream(account_id)
        account = self.accounts.get(stream) or self._books.accounts.get(stream)
        if account is None:
            raise AccountNotFound(account_id=account_id)
        return account

    def payment(self, payment_id: int) -> Payment:
        """Give a payment. Raises PaymentNotFound."""
        stream = payment_stream(payment_id)
        payment = self.payments.get(stream) or self._books.payments.get(stream)
        if payment is None:
            raise PaymentNotFound(payment_id=payment_id)
        return payment

    def pending_minor(self, account_id: int) -> int:
        """Sum up what the deposits on their way to an account would credit."""
        stream = account_stream(account_id)
        if stream in self.pending:
            return self.pending[stream]
        return self._books.pending_minor.get(stream, 0)

    def key_taken(self, scope: str, key: str) -> KeyTaken | None:
        """Tell what was made under an idempotency key."""
        return self._keys.get((scope, key))

    # --- applying ---

    def apply(self, command: AnyCommand, decision: Decision) -> None:
        """Take a decision in, so that the commands after it see it."""
        versions: dict[str, int] = {}
        for happening in decision.happenings:
            stream, event = happening.stream, happening.event
            known = self.accounts.get(stream) or self.payments.get(stream)
            known = known or self._books.accounts.get(stream) or self._books.payments.get(stream)
            follows = happening.follows
            recorded = Recorded(
                originator_id=stream,
                originator_version=1 if known is None else known.version + 1,
                at=self.at,
                command_id=command.command_id,
                cause=type(command).__name__ if follows is None else f"{follows}/{versions[follows]}",
                by=command.by,
                data=event,
            )
            versions[stream] = recorded.originator_version
            self.rows.append(Row(stream, recorded.originator_version, event.TOPIC, encode(recorded)))
            self._take_in(stream, _evolve(known, recorded), event)
        if decision.key is not None:
            self.keys_taken.append(decision.key)
            idempotency = decision.key.idempotency
            self._keys[idempotency.scope, idempotency.key] = decision.key
        if decision.dequeue is not None:
            self.enqueued.pop(decision.dequeue, None)
            self.dequeued.add(decision.dequeue)
        if decision.enqueue is not None:
            self.dequeued.discard(decision.enqueue.payment_id)
            self.enqueued[decision.enqueue.payment_id] = decision.enqueue

    def _take_in(self, stream: str, aggregate: Account | Payment, event: AnyEvent) -> None:
        if isinstance(aggregate, Account):
            self.accounts[stream] = aggregate
            if aggregate.version % SNAPSHOT_EVERY == 0:
                self._snapshots_due.add(stream)
            if isinstance(event, AccountOpened):
                self.next_account_id += 1
                self.pending[stream] = 0
            return
        self.payments[stream] = aggregate
        if isinstance(event, PaymentRequested):
            self.next_payment_sequence += 1
        account_id, change_minor = pending_change(event)
        if change_minor:
            self.pending[account_stream(account_id)] = self.pending_minor(account_id) + change_minor

    def take(self) -> Writes:
        """Give what the decisions since the last time write. Of two parts the first one is to be written first."""
        writes = Writes(self.rows, self.keys_taken, self.enqueued, self.dequeued)
        self.rows, self.keys_taken, self.enqueued, self.dequeued = [], [], {}, set()
        return writes

    @property
    def snapshots(self) -> list[Row]:
        """The snapshots to be stored: of each account that passed a round version, as the batch leaves it."""
        accounts = [self.accounts[stream] for stream in sorted(self._snapshots_due)]
        return [Row(account.id, account.version, SNAPSHOT_TOPIC, encode_snapshot(account)) for account in accounts]


def pending_change(event: AnyEvent) -> tuple[int, int]:
    """By how much an event changes what the deposits on their way to an account would credit: (account_id, minor)."""
    match event:
        case PaymentRequested(kind="deposit") | PaymentRequeued(kind="deposit"):
            return event.account_id, event.amount_minor - event.fee_minor
        case PaymentEnded(kind="deposit") if event.ended_by != "reconciliation":
            return event.account_id, event.fee_minor - event.amount_minor
        case _:
            return 0, 0


def _evolve(known: Any, recorded: Recorded[Any]) -> Account | Payment:  # noqa: ANN401 - of the stream's own kind
    if recorded.originator_id.startswith("account-"):
        return ledger.account.evolve(known, recorded)
    return ledger.payment.evolve(known, recorded)


def streams_of(commands: Sequence[AnyCommand], keys: Iterable[KeyTaken]) -> set[str]:
    """Name the streams that deciding these commands may need, as far as the commands and their keys tell."""
    streams = set()
    for command in commands:
        if (account_id := getattr(command, "account_id", None)) is not None:
            streams.add(account_stream(account_id))
        if (payment_id := getattr(command, "payment_id", None)) is not None:
            streams.add(payment_stream(payment_id))
    for key in keys:
        stream_name = account_stream if key.subject_kind == "account" else payment_stream
        streams.add(stream_name(key.subject_id))
    return streams
