"""What can happen to accounts and payments, as it is stored.

An event has two halves. The inner half says what happened and is one of the classes here that carry a topic; deciding
makes it and evolving reads it. The outer half, `Recorded`, says where and when: stream, version, time, command, cause
and author; the writer adds it. In the store the topic is a column and both halves are one JSON object, the inner one
under `data`.

The registry `EVENT_BY_TOPIC` is closed: a topic that is not in it cannot be read, and no topic is an import path. When
a class changes its shape, its `VERSION` goes up and `ledger.mapper` gets the upcast from the old one; stored bytes
never change.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from msgspec import Meta, Struct

PaymentKind = Literal["deposit", "withdraw"]
OutcomeName = Literal["approved", "declined", "turned_away", "unknown"]
InquiryName = Literal["approved", "declined", "no_clear_answer"]
EndedBy = Literal["request", "gateway", "inquiry", "resolution", "reconciliation"]
Resolution = Literal["success", "failed"]

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class IdempotencyKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The key of a request, and what the request was.

    `scope` is whom the key belongs to, such as `user-1`. `fingerprint` is the request in its shortest form: route, user
    and amount in minor units, written by version `fingerprint_version` of the rule, so that the rule may change without
    refusing old keys.
    """

    scope: str
    key: str
    fingerprint: str
    fingerprint_version: int = 1


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all events share: a topic under which they are stored, and the version of their shape.

    Fields at their default are not stored, so a default once released must never change.
    """

    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1


class AccountOpened(Event, frozen=True, kw_only=True):
    """A user was given an account, with what it holds from the start."""

    TOPIC = "account.opened"
    currency: str
    opening_minor: Int64
    idempotency: IdempotencyKey | None = None


class FundsHeld(Event, frozen=True, kw_only=True):
    """Money was set aside for a withdrawal: amount and fee."""

    TOPIC = "account.funds_held"
    payment_id: Int64
    currency: str
    amount_minor: Int64


class HoldReleased(Event, frozen=True, kw_only=True):
    """Money that was set aside is available again."""

    TOPIC = "account.hold_released"
    payment_id: Int64
    currency: str
    amount_minor: Int64


class AccountCredited(Event, frozen=True, kw_only=True):
    """A deposit was settled: `gross_minor` came in, `fee_minor` was kept, `net_minor` is the user's."""

    TOPIC = "account.credited"
    payment_id: Int64
    currency: str
    gross_minor: Int64
    fee_minor: Int64
    net_minor: Int64


class AccountDebited(Event, frozen=True, kw_only=True):
    """A withdrawal was settled: `gross_minor` went out, `total_minor` with the fee was taken from the user.

    `held_minor` of it had been set aside and is used up: all of it, or nothing when the hold was gone.
    """

    TOPIC = "account.debited"
    payment_id: Int64
    currency: str
    gross_minor: Int64
    fee_minor: Int64
    total_minor: Int64
    held_minor: Int64


AccountEvent = AccountOpened | FundsHeld | HoldReleased | AccountCredited | AccountDebited


class PaymentRequested(Event, frozen=True, kw_only=True):
    """A client asked for a deposit or a withdrawal."""

    TOPIC = "payment.requested"
    payment_id: Int64
    account_id: Int64
    kind: PaymentKind
    amount_minor: Int64
    fee_minor: Int64
    fee_rate_ppm: int
    currency: str
    idempotency: IdempotencyKey | None = None


class GatewayAttempted(Event, frozen=True, kw_only=True):
    """The gateway was called, or a call is known to have been lost with its worker.

    `attempt` counts from 1 in its `series`. `late` marks an answer that came after its attempt had been written off,
    and is no further attempt. What comes next stands in `retry_at` or `inquire_at`; both are null at the payment's end.
    """

    TOPIC = "payment.gateway_attempted"
    payment_id: Int64
    series: int
    attempt: int
    gateway_key: str
    outcome: OutcomeName
    http_status: int | None = None
    error: str | None = None
    reference: str | None = None
    answer_digest: str | None = None
    elapsed_ms: Int64 = 0
    late: bool = False
    retry_at: datetime | None = None
    inquire_at: datetime | None = None


class PaymentInquired(Event, frozen=True, kw_only=True):
    """The gateway was asked what became of a payment, and the answer changed something."""

    TOPIC = "payment.inquired"
    payment_id: Int64
    series: int
    gateway_key: str
    answer: InquiryName
    http_status: int | None = None
    error: str | None = None
    reference: str | None = None
    answer_digest: str | None = None
    elapsed_ms: Int64 = 0


class PaymentEnded(Event, frozen=True, kw_only=True):
    """What both ends of a payment tell, so that a reader of one event needs no other.

    `ended_by` is what told us: the request itself was refused, an answer of the gateway, an inquiry, an operator's
    resolution of a payment in doubt, or his reconciliation of one that had failed and is now known to have succeeded.
    """

    payment_id: Int64
    account_id: Int64
    kind: PaymentKind
    amount_minor: Int64
    fee_minor: Int64
    currency: str
    series: int
    ended_by: EndedBy


class PaymentSucceeded(PaymentEnded, frozen=True, kw_only=True):
    """The gateway moved the money."""

    TOPIC = "payment.succeeded"
    reference: str | None = None


class PaymentFailed(PaymentEnded, frozen=True, kw_only=True):
    """No money moved, for `reason`."""

    TOPIC = "payment.failed"
    reason: str


class PaymentParked(Event, frozen=True, kw_only=True):
    """The gateway may have moved the money and cannot say; the payment is in doubt."""

    TOPIC = "payment.parked"
    payment_id: Int64
    series: int
    reason: str


class PaymentRequeued(Event, frozen=True, kw_only=True):
    """An operator sent a failed payment to the gateway again, as a new series of attempts."""

    TOPIC = "payment.requeued"
    payment_id: Int64
    account_id: Int64
    kind: PaymentKind
    amount_minor: Int64
    fee_minor: Int64
    currency: str
    series: int
    gateway_key: str
    why: str


class PaymentContradicted(Event, frozen=True, kw_only=True):
    """The gateway says that it moved the money of a series which we had failed."""

    TOPIC = "payment.contradicted"
    payment_id: Int64
    series: int
    gateway_key: str
    http_status: int | None = None
    reference: str | None = None
    answer_digest: str | None = None


class PaymentResolved(Event, frozen=True, kw_only=True):
    """An operator closed a dead letter with an outcome; the payment's end follows where that changes it."""

    TOPIC = "payment.resolved"
    payment_id: Int64
    outcome: Resolution
    why: str


PaymentEvent = (
    PaymentRequested
    | GatewayAttempted
    | PaymentInquired
    | PaymentSucceeded
    | PaymentFailed
    | PaymentParked
    | PaymentRequeued
    | PaymentContradicted
    | PaymentResolved
)

AnyEvent = AccountEvent | PaymentEvent

EVENT_BY_TOPIC: dict[str, type[AnyEvent]] = {
    event_class.TOPIC: event_class
    for event_class in (
        AccountOpened,
        FundsHeld,
        HoldReleased,
        AccountCredited,
        AccountDebited,
        PaymentRequested,
        GatewayAttempted,
        PaymentInquired,
        PaymentSucceeded,
        PaymentFailed,
        PaymentParked,
        PaymentRequeued,
        PaymentContradicted,
        PaymentResolved,
    )
}
"""Every event class by the topic under which it is stored."""


EventT = TypeVar("EventT", bound=AnyEvent)


class Recorded(Struct, Generic[EventT], frozen=True, kw_only=True):
    """An event with where and when it happened: what `eventsourcing` calls a domain event.

    `originator_id` and `originator_version` are the stream and the place in it, from 1. `at` is the database's time in
    UTC, never earlier than that of the event before in the log. `cause` is the command's name, or the stream and
    version of the event that brought this one about (`payment-7/3`); `by` is who sent the command, where known.
    """

    originator_id: str
    originator_version: int
    at: datetime
    command_id: str
    cause: str
    data: EventT
    by: str | None = None
