"""The decision about a command, and the view of the ledger that deciding reads."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct

from ledger.domain.account import Account
from ledger.domain.commands import ScopedKey
from ledger.domain.events import AnyEvent, IdempotencyKey, InquiryName, PaymentFacts, Resolution
from ledger.domain.identifiers import FINGERPRINT_VERSION, account_stream, payment_stream
from ledger.domain.payment import Payment, contradiction
from ledger.errors import IdempotencyKeyReused

SubjectKind = Literal["account", "payment"]


QueueAction = Literal["pay", "inquire", "inquire_first", "inquire_late"]
"""A call; an inquiry about a series' calls, about the key before a new series, or about a payment that has failed."""


class PlannedEvent(Struct, frozen=True):
    """An event of a decision, its stream, and its cause.

    `follows` is the stream of the event of the same decision that caused this one. It is None if the command is the
    cause.
    """

    stream: str
    event: AnyEvent
    follows: str | None = None


class QueueEntry(PaymentFacts, frozen=True, kw_only=True):
    """The next call or inquiry about a payment, and the time from which it is due.

    `attempt` counts the attempts of the series that are already recorded, `inquiries` the inquiries made; of late ones,
    those with a clear answer. `due_at` is
    on the database's clock. `unknown` says that an earlier attempt under the gateway key may have moved the money.
    """

    series: int
    gateway_key: str
    payment_version: int
    due_at: datetime
    attempt: int = 0
    action: QueueAction = "pay"
    inquiries: int = 0
    unknown: bool = False
    trace_context: str | None = None

    @property
    def is_first(self) -> bool:
        """Whether the payment has no event after its request."""
        return self.payment_version == 1


class IdempotencyRecord(Struct, frozen=True, kw_only=True):
    """An idempotency key, and the account or payment that was created under it."""

    subject_kind: SubjectKind
    subject_id: int
    idempotency: IdempotencyKey

    @property
    def stream(self) -> str:
        """The stream of the account or payment that was created under the key."""
        return account_stream(self.subject_id) if self.subject_kind == "account" else payment_stream(self.subject_id)


class Decision(Struct, frozen=True, kw_only=True):
    """The effects of a command. `enqueue` replaces the queue entry of a payment, `dequeue` removes it."""

    planned: Sequence[PlannedEvent] = ()
    enqueue: QueueEntry | None = None
    dequeue: int | None = None
    key: IdempotencyRecord | None = None
    answer: Any


class LedgerView(Protocol):
    """The ledger at the time of a decision: everything before it, also of the same batch.

    `at` is the time of the events, which is never earlier than the log's last time. `now` is the database's clock, from
    which schedules count. It is earlier than `at` after the clock was set back.
    """

    at: datetime
    key_salt: str
    """16 random hexadecimal digits, new in each batch, which make its gateway keys unique."""
    now: datetime
    next_account_id: int
    next_payment_sequence: int

    def account(self, account_id: int) -> Account:
        """Return an account. Raises AccountNotFound."""

    def payment(self, payment_id: int) -> Payment:
        """Return a payment. Raises PaymentNotFound."""

    def pending_minor(self, account_id: int) -> int:
        """Sum up the credits of an account's pending deposits."""

    def waiting(self, account_id: int) -> int:
        """Count the payments of an account that have not ended, of those that a command with a limit is about."""

    def key_taken(self, scope: str, key: str) -> IdempotencyRecord | None:
        """Return the record of an idempotency key, or None if it is free."""


# --- what the gateway says --------------------------------------------------------------------------------------------


def key_in_question(payment: Payment, gateway_key: str | None) -> str:
    """Return the gateway key about which an operator decides: that of a contradiction, or the payment's own."""
    return contradiction(payment, gateway_key) if payment.letter == "contradicted" else payment.gateway_key


def goes_against(payment: Payment, outcome: Resolution, answer: InquiryName | None) -> bool:
    """Tell whether an outcome contradicts a clear answer of the gateway about the key in question.

    A success says that money has moved under the key, and is booked; a failure says that none has, or that it is back.
    The success of a payment that has succeeded already is about another key, and says that the money there is back.
    """
    says_moved = outcome == "success" and payment.state != "succeeded"
    return answer in ({"declined", "not_found"} if says_moved else {"approved"})


# --- idempotency keys -------------------------------------------------------------------------------------------------


def idempotency_key(key: ScopedKey | None, fingerprint: str) -> IdempotencyKey | None:
    """Return the idempotency key of a request, with the request's fingerprint; None without a key."""
    if key is None:
        return None
    return IdempotencyKey(scope=key[0], key=key[1], fingerprint=fingerprint, fingerprint_version=FINGERPRINT_VERSION)


def taken_under(view: LedgerView, idempotency: IdempotencyKey | None) -> IdempotencyRecord | None:
    """Look up an idempotency key. Raises IdempotencyKeyReused if another request has used it."""
    if idempotency is None:
        return None
    taken = view.key_taken(idempotency.scope, idempotency.key)
    if taken is None:
        return None
    # When a second version exists, compare by the version of the stored key.
    assert taken.idempotency.fingerprint_version == FINGERPRINT_VERSION
    if taken.idempotency.fingerprint != idempotency.fingerprint:
        raise IdempotencyKeyReused(key=idempotency.key)
    return taken


def record_of(kind: SubjectKind, subject_id: int, idempotency: IdempotencyKey | None) -> IdempotencyRecord | None:
    """Return the record of what a request has made under its idempotency key; None without a key."""
    if idempotency is None:
        return None
    return IdempotencyRecord(subject_kind=kind, subject_id=subject_id, idempotency=idempotency)
