"""A ledger in memory: the real decisions, cache, serialization and seals, with lists in place of the database's tables.

`PaperStore` holds the committed state. `PaperWriter` writes to it as `ledger.writer` does, one batch a call, with a
cache of its own, so that several writers can take turns on one store. Only the tables of the ledger are replaced.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from ledger.domain.account import Account
from ledger.domain.commands import (
    AdjustPayment,
    AnyCommand,
    FollowUp,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestPayment,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
)
from ledger.domain.decide import decide
from ledger.domain.decision import IdempotencyRecord, QueueEntry
from ledger.domain.events import AccountEvent, AnyEvent, InquiryName, OutcomeName, PaymentEvent, Recorded, Resolution
from ledger.domain.evolve import evolve_account, evolve_payment
from ledger.domain.identifiers import account_stream, gateway_key, payment_stream
from ledger.domain.payment import Payment
from ledger.errors import LedgerError, Refusal, TooManyWaiting
from ledger.store.hash_chain import first_seal, seal_rows
from ledger.store.log import Head, Row
from ledger.store.serialization import decode
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from ledger.writer.cache_loading import streams_of

BEGINNING = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TWO_PERCENT = 20_000
KEY_SALT = "5a175a175a175a17"


class PaperStore(Struct, kw_only=True):
    """The committed state: the head, and all that was written with it. `clock` is the database's clock."""

    head: Head = Head(0, first_seal(UUID(int=7)), BEGINNING, 1, 0)
    clock: datetime = BEGINNING
    log: list[Row] = []
    snapshots: list[Row] = []
    keys: dict[tuple[str, str], IdempotencyRecord] = {}
    queue: dict[int, QueueEntry] = {}

    def events(self, stream: str | None = None) -> list[Recorded[AnyEvent]]:
        """The events in order: all of them, or those of one stream."""
        return [decode(*row) for row in self.log if stream in {None, row.originator_id}]

    def topics(self, stream: str) -> list[str]:
        """The topics of one stream's events, in order."""
        return [row.topic for row in self.log if row.originator_id == stream]

    def pending_minor(self, account_id: int) -> int:
        """Sum up the credits of the queue's deposits to an account, in minor units."""
        deposits = [entry for entry in self.queue.values() if (entry.account_id, entry.kind) == (account_id, "deposit")]
        return sum(entry.amount_minor - entry.fee_minor for entry in deposits if entry.action != "inquire_late")

    def waiting(self, account_id: int) -> int:
        """Count the payments of an account in the queue that have not ended."""
        return sum(e.account_id == account_id and e.action != "inquire_late" for e in self.queue.values())


class PaperWriter:
    """Writes batches of commands to a store in memory."""

    def __init__(
        self, store: PaperStore | None = None, *, capacity: int = 1000, caches_foreign_payments: bool = False
    ) -> None:
        self.store = store or PaperStore()
        self.salt = KEY_SALT
        self.cache = AggregateCache(capacity=capacity, expect_payments=caches_foreign_payments)

    # --- batches ---

    def write(self, *commands: AnyCommand) -> list[Any]:
        """Write commands as one batch. Returns answers and refusals in the order of the commands."""
        batch = self.begin(commands)
        answers = decide_and_apply(batch, commands)
        self.commit(batch)
        return answers

    def one(self, command: AnyCommand) -> Any:
        """Write one command and return its answer. Raises its refusal."""
        (answer,) = self.write(command)
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    def begin(self, commands: Sequence[AnyCommand] = ()) -> BatchView:
        """Bring the cache up to the head, and open a batch on top of it."""
        store = self.store
        if self.cache.position != store.head.position:
            fresh = enumerate(store.log[self.cache.position :], start=self.cache.position + 1)
            self.cache.apply_foreign_events((position, *row) for position, row in fresh)
        self.cache.stand_at(store.head)
        asked = {key for command in commands if (key := command.key) is not None}
        keys = {key: store.keys[key] for key in asked if key in store.keys}
        self._load(streams_of(commands, keys.values()))
        # A payment is on an account that the command need not name.
        payments = self.cache.payments
        named = streams_of(commands, ())
        self._load({account_stream(payments[name].account_id) for name in named if name in payments})
        limited = {command.account_id for command in commands if isinstance(command, RequestPayment)}
        waiting = {account_id: store.waiting(account_id) for account_id in limited}
        return BatchView(self.cache, store.head, now=store.clock, keys=keys, key_salt=self.salt, waiting=waiting)

    def commit(self, batch: BatchView) -> None:
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
        batch.commit_to(self.cache, store.head)

    def _load(self, streams: set[str]) -> None:
        missing = {name for name in streams if name not in self.cache.accounts and name not in self.cache.payments}
        rows = [row for row in self.store.log if row.originator_id in missing]
        account_ids = [entry.account_id for entry in self.store.queue.values()]
        self.cache.load(rows, {account_id: self.store.pending_minor(account_id) for account_id in account_ids})

    # --- reading ---

    def account(self, account_id: int = 1) -> Account:
        """An account, folded from its events."""
        account = None
        for recorded in self.store.events(account_stream(account_id)):
            account = evolve_account(account, cast("Recorded[AccountEvent]", recorded))
        assert account is not None
        return account

    def payment(self, payment_id: int = 1) -> Payment:
        """A payment, folded from its events."""
        payment = None
        for recorded in self.store.events(payment_stream(payment_id)):
            payment = evolve_payment(payment, cast("Recorded[PaymentEvent]", recorded))
        assert payment is not None
        return payment

    # --- one step at a time ---

    def opened(self, opening: str = "10.00", **facts: Any) -> Account:
        """Open an account."""
        return self.account(self.one(open_account(opening, **facts)).account_id)

    def requested(self, command: RequestDeposit | RequestWithdrawal) -> Payment:
        """Request a payment."""
        return self.payment(self.one(command).payment_id)

    def told(self, payment_id: int, told: OutcomeName, then: FollowUp, **facts: Any) -> Payment:
        """Report the outcome of a payment's next attempt."""
        self.one(outcome(self.payment(payment_id), told, then, **facts))
        return self.payment(payment_id)

    def inquired(self, payment_id: int, answer: InquiryName, then: FollowUp, **facts: Any) -> Payment:
        """Report the answer to an inquiry about a payment."""
        self.one(inquiry(self.payment(payment_id), answer, then, **facts))
        return self.payment(payment_id)

    def requeued(self, payment_id: int, **facts: Any) -> Payment:
        """Requeue a failed payment."""
        self.one(requeue(payment_id, **facts))
        return self.payment(payment_id)

    def resolved(self, payment_id: int, resolution: Resolution) -> Payment:
        """Resolve a dead letter."""
        self.one(resolve(payment_id, resolution))
        return self.payment(payment_id)


def decide_and_apply(batch: BatchView, commands: Sequence[AnyCommand]) -> list[Any]:
    """Decide commands in order, each on top of those before it. Returns answers or refusals."""
    answers: list[Any] = []
    for command in commands:
        try:
            decision = decide(command, batch)
        except (Refusal, TooManyWaiting) as refusal:
            answers.append(refusal)
        else:
            batch.apply(command, decision)
            answers.append(decision.answer)
    return answers


def state_of(cache: AggregateCache) -> tuple[Any, ...]:
    """The whole content of a cache, in its order of eviction."""
    return (list(cache.accounts.items()), list(cache.payments.items()), dict(cache.pending_minor)), cache.position


# --- commands, with defaults for the fields that a test does not care about ---


def open_account(opening: str = "10.00", *, currency: str = "USD", **facts: Any) -> OpenAccount:
    """Open an account, by default with ten dollars."""
    return OpenAccount(**{"command_id": "open", "opening": Decimal(opening), "currency": currency, **facts})


def deposit(amount: str = "2.00", *, account_id: int = 1, **facts: Any) -> RequestDeposit:
    """Request a deposit, by default of two dollars at two percent."""
    return RequestDeposit(**_request(amount, account_id, facts))


def withdrawal(amount: str = "2.00", *, account_id: int = 1, **facts: Any) -> RequestWithdrawal:
    """Request a withdrawal, by default of two dollars at two percent."""
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
    """Report the outcome of a payment's next attempt, or of another one, under the gateway key of its series."""
    report = {**_report(payment, **facts), "attempt": payment.attempt + 1, "outcome": told, "then": then}
    return RecordGatewayOutcome(**{**report, **facts})


def inquiry(payment: Payment, answer: InquiryName, then: FollowUp, **facts: Any) -> RecordInquiry:
    """Report the answer to the first inquiry about a payment, or about another series under its gateway key."""
    return RecordInquiry(**{**_report(payment, **facts), "inquiry": 1, "answer": answer, "then": then, **facts})


def key(payment_id: int = 1, series: int = 1) -> str:
    """The gateway key that a series gets on paper, if it gets one of its own."""
    return gateway_key(payment_id, series, KEY_SALT)


def _report(payment: Payment, **facts: Any) -> dict[str, Any]:
    series = facts.get("series", payment.series)
    salt = payment.gateway_key.partition("_")[2]
    return {
        "command_id": "report",
        "payment_id": payment.payment_id,
        "account_id": payment.account_id,
        "seen_version": payment.version,
        "series": payment.series,
        "gateway_key": payment.gateway_key
        if series == payment.series
        else gateway_key(payment.payment_id, series, salt),
    }


def requeue(payment_id: int = 1, **facts: Any) -> RequeuePayment:
    """Requeue a failed payment."""
    return RequeuePayment(
        **{"command_id": "requeue", "payment_id": payment_id, "why": "they say it works now", **facts}
    )


def resolve(payment_id: int, resolution: Resolution, **facts: Any) -> ResolvePayment:
    """Close a dead letter."""
    close = {"command_id": "resolve", "payment_id": payment_id, "outcome": resolution, "why": "the bank told us"}
    return ResolvePayment(**{**close, **facts})


def adjust(payment_id: int = 1, **facts: Any) -> AdjustPayment:
    """Book a movement of money, by default against suspense."""
    usual = {"command_id": "adjust", "payment_id": payment_id, "why": "the bank's statement", "against": "suspense"}
    return AdjustPayment(**{**usual, **facts})
