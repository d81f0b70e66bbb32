"""A ledger on paper: the real decisions, books, mapper and seals, with lists where the database would be.

`PaperStore` is what is committed. `PaperWriter` writes to it as `ledger.writer` does, one batch a call, with books of
its own, so that several of them can take turns on one store. Nothing of the ledger is replaced but its tables.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.books import BatchBooks, Books, streams_of
from ledger.commands import (
    AnyCommand,
    FollowUp,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
)
from ledger.decisions import KeyTaken, QueueEntry, decide
from ledger.errors import Refusal
from ledger.events import AccountEvent, AnyEvent, InquiryName, OutcomeName, PaymentEvent, Recorded, Resolution
from ledger.identifiers import account_stream, gateway_key, opening_scope, payment_stream
from ledger.log import Head, Row
from ledger.mapper import decode
from ledger.payment import Payment
from ledger.seal import first_seal, seal_rows

BEGINNING = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TWO_PERCENT = 20_000


class PaperStore(Struct, kw_only=True):
    """What is committed: the head and what is written with it. `clock` is the database's."""

    head: Head = Head(0, first_seal(UUID(int=7)), BEGINNING, 1, 0)
    clock: datetime = BEGINNING
    log: list[Row] = []
    snapshots: list[Row] = []
    keys: dict[tuple[str, str], KeyTaken] = {}
    queue: dict[int, QueueEntry] = {}

    def events(self, stream: str | None = None) -> list[Recorded[AnyEvent]]:
        """What has happened, in order: all of it, or what belongs to one stream."""
        return [decode(*row) for row in self.log if stream in {None, row.originator_id}]

    def topics(self, stream: str) -> list[str]:
        """What has happened to one stream, in short."""
        return [row.topic for row in self.log if row.originator_id == stream]

    def pending_minor(self, account_id: int) -> int:
        """What the queue's deposits to an account would credit."""
        deposits = [entry for entry in self.queue.values() if (entry.account_id, entry.kind) == (account_id, "deposit")]
        return sum(entry.amount_minor - entry.fee_minor for entry in deposits)


class PaperWriter:
    """Writes batches of commands to a paper store."""

    def __init__(self, store: PaperStore | None = None, *, capacity: int = 1000, settles: bool = False) -> None:
        self.store = store or PaperStore()
        self.books = Books(capacity=capacity, expect_payments=settles)

    # --- batches ---

    def write(self, *commands: AnyCommand) -> list[Any]:
        """Write commands as one batch; answers and refusals in their order."""
        batch = self.begin(commands)
        answers = decide_and_apply(batch, commands)
        self.commit(batch)
        return answers

    def one(self, command: AnyCommand) -> Any:
        """Write one command; its refusal is raised."""
        (answer,) = self.write(command)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def begin(self, commands: Sequence[AnyCommand] = ()) -> BatchBooks:
        """Bring the books up to the head, and lay a batch's books over them."""
        store = self.store
        if self.books.position != store.head.position:
            fresh = enumerate(store.log[self.books.position :], start=self.books.position + 1)
            self.books.absorb((position, *row) for position, row in fresh)
        self.books.stand_at(store.head)
        asked = {key for command in commands if (key := key_of(command)) is not None}
        keys = {key: store.keys[key] for key in asked if key in store.keys}
        self._learn(streams_of(commands, keys.values()))
        # A payment is on an account that the command need not name.
        self._learn({account_stream(payment.account_id) for payment in self._payments_of(commands)})
        return BatchBooks(self.books, store.head, at=max(store.clock, store.head.at), keys=keys)

    def commit(self, batch: BatchBooks) -> None:
        """Store all that a batch writes."""
        store = self.store
        digests = seal_rows(store.head.digest, store.head.position, batch.rows)
        store.log.extend(batch.rows)
        store.snapshots.extend(batch.snapshots)
        store.keys.update({(key.idempotency.scope, key.idempotency.key): key for key in batch.keys_taken})
        assert not batch.dequeued & set(batch.enqueued)
        for payment_id in batch.dequeued:
            store.queue.pop(payment_id, None)
        store.queue.update(batch.enqueued)
        if batch.rows:
            store.head = Head(len(store.log), digests[-1], batch.at, batch.next_account_id, batch.next_payment_sequence)
        self.books.keep(batch, store.head)

    def _payments_of(self, commands: Sequence[AnyCommand]) -> list[Payment]:
        streams = [payment_stream(getattr(command, "payment_id", 0)) for command in commands]
        return [self.books.payments[stream] for stream in streams if stream in self.books.payments]

    def _learn(self, streams: set[str]) -> None:
        missing = {name for name in streams if name not in self.books.accounts and name not in self.books.payments}
        rows = [row for row in self.store.log if row.originator_id in missing]
        account_ids = [entry.account_id for entry in self.store.queue.values()]
        self.books.learn(rows, {account_id: self.store.pending_minor(account_id) for account_id in account_ids})

    # --- what is there ---

    def account(self, account_id: int = 1) -> Account:
        """An account, folded from its events."""
        account = None
        for recorded in self.store.events(account_stream(account_id)):
            account = ledger.account.evolve(account, cast("Recorded[AccountEvent]", recorded))
        assert account is not None
        return account

    def payment(self, payment_id: int = 1) -> Payment:
        """A payment, folded from its events."""
        payment = None
        for recorded in self.store.events(payment_stream(payment_id)):
            payment = ledger.payment.evolve(payment, cast("Recorded[PaymentEvent]", recorded))
        assert payment is not None
        return payment

    # --- the steps of a story ---

    def opened(self, opening: str = "10.00", **facts: Any) -> Account:
        """Open an account."""
        return self.account(self.one(open_account(opening, **facts)).account_id)

    def requested(self, command: RequestDeposit | RequestWithdrawal) -> Payment:
        """Request a payment."""
        return self.payment(self.one(command).payment_id)

    def told(self, payment_id: int, told: OutcomeName, then: FollowUp, **facts: Any) -> Payment:
        """Report what the gateway told about the next attempt of a payment."""
        self.one(outcome(self.payment(payment_id), told, then, **facts))
        return self.payment(payment_id)

    def inquired(self, payment_id: int, answer: InquiryName, then: FollowUp, **facts: Any) -> Payment:
        """Report what the gateway says became of a payment."""
        self.one(inquiry(self.payment(payment_id), answer, then, **facts))
        return self.payment(payment_id)

    def requeued(self, payment_id: int, **facts: Any) -> Payment:
        """Queue a failed payment again."""
        self.one(requeue(payment_id, **facts))
        return self.payment(payment_id)

    def resolved(self, payment_id: int, resolution: Resolution) -> Payment:
        """Resolve a dead letter."""
        self.one(resolve(payment_id, resolution))
        return self.payment(payment_id)


def decide_and_apply(batch: BatchBooks, commands: Sequence[AnyCommand]) -> list[Any]:
    """Decide commands one after the other, each seeing what the ones before it did; answers or refusals."""
    answers: list[Any] = []
    for command in commands:
        try:
            decision = decide(command, batch)
        except Refusal as refusal:
            answers.append(refusal)
        else:
            batch.apply(command, decision)
            answers.append(decision.answer)
    return answers


def key_of(command: AnyCommand) -> tuple[str, str] | None:
    """The scope and key under which a command looks for an earlier one like it."""
    match command:
        case OpenAccount(idempotency_key=str(key)):
            return opening_scope(command.caller), key
        case RequestDeposit(idempotency_key=str(key)) | RequestWithdrawal(idempotency_key=str(key)):
            return f"user-{command.account_id}", key
        case _:
            return None


# --- commands, with what a test does not care about filled in ---


def open_account(opening: str = "10.00", *, currency: str = "USD", **facts: Any) -> OpenAccount:
    """Open an account of ten dollars, if nothing else is said."""
    return OpenAccount(**{"command_id": "open", "opening": Decimal(opening), "currency": currency, **facts})


def deposit(amount: str = "2.00", *, account_id: int = 1, **facts: Any) -> RequestDeposit:
    """Deposit two dollars at two percent, if nothing else is said."""
    return RequestDeposit(**_request(amount, account_id, facts))


def withdrawal(amount: str = "2.00", *, account_id: int = 1, **facts: Any) -> RequestWithdrawal:
    """Withdraw two dollars at two percent, if nothing else is said."""
    return RequestWithdrawal(**_request(amount, account_id, facts))


def _request(amount: str, account_id: int, facts: dict[str, Any]) -> dict[str, Any]:
    request = {"command_id": "request", "account_id": account_id, "amount": Decimal(amount)}
    return {**request, "fee_rate_ppm": TWO_PERCENT, **facts}


def outcome(
    payment: Payment,
    told: OutcomeName,
    then: FollowUp,
    **facts: Any,
) -> RecordGatewayOutcome:
    """Report the next attempt of a payment as it is now, or another one, under the gateway key of its series."""
    report = {**_report(payment, **facts), "attempt": payment.attempt + 1, "outcome": told, "then": then}
    return RecordGatewayOutcome(**{**report, **facts})


def inquiry(payment: Payment, answer: InquiryName, then: FollowUp, **facts: Any) -> RecordInquiry:
    """Report the first inquiry about a payment as it is now, or about another series under its gateway key."""
    return RecordInquiry(**{**_report(payment, **facts), "inquiry": 1, "answer": answer, "then": then, **facts})


def _report(payment: Payment, **facts: Any) -> dict[str, Any]:
    series = facts.get("series", payment.series)
    return {
        "command_id": "report",
        "payment_id": payment.payment_id,
        "account_id": payment.account_id,
        "seen_version": payment.version,
        "series": payment.series,
        "gateway_key": payment.gateway_key if series == payment.series else gateway_key(payment.payment_id, series),
    }


def requeue(payment_id: int = 1, **facts: Any) -> RequeuePayment:
    """Queue a failed payment again."""
    return RequeuePayment(
        **{"command_id": "requeue", "payment_id": payment_id, "why": "they say it works now", **facts}
    )


def resolve(payment_id: int, resolution: Resolution, **facts: Any) -> ResolvePayment:
    """Close a dead letter."""
    close = {"command_id": "resolve", "payment_id": payment_id, "outcome": resolution, "why": "the bank told us"}
    return ResolvePayment(**{**close, **facts})
