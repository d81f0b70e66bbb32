"""The events of accounts, payments and the ledger itself, as they are stored.

An event has two halves. The inner half says what happened and is one of the classes here that carry a topic; deciding
makes it and evolving reads it. The outer half, `Recorded`, says where and when: stream, version, time, command, cause
and author; the writer adds it. In the store the topic is a column and both halves are one JSON object, the inner one
under `data`.

An event class is registered by its name in the union of its stream, `AccountEvent` or `PaymentEvent`, or, where it is
about the ledger itself or a whole gateway, in `AnyEvent`. All else follows:
`AnyEvent`, the topics, the decoders, and that mypy names each reader that does not know the new event, because every
match over events ends in `assert_never`.

The registry `EVENT_BY_TOPIC` is closed: a topic that is not in it cannot be read, and no topic is an import path. When
a class changes its shape, its `VERSION` goes up and `ledger.store.serialization` gets the upcast from the old one;
stored bytes never change.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar, get_args

from msgspec import Meta, Struct

from ledger.domain.identifiers import gateway_key
from ledger.domain.kinds import KINDS, Direction, PaymentKind

TEXT_CHARACTERS_MAX: Final = 1_000
"""The longest reason or name in an event. Requests may have half of it, so that their limit can grow."""

OutcomeName = Literal["approved", "declined", "turned_away", "unknown"]
InquiryName = Literal["approved", "declined", "not_found", "no_clear_answer"]
EndedBy = Literal["request", "gateway", "inquiry", "resolution", "reconciliation"]
Resolution = Literal["success", "failed"]
AdjustedAgainst = Literal["account", "suspense"]
GatewayChange = Literal["paused", "resumed", "breaker_opened", "breaker_closed"]

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class IdempotencyKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The key of a request, and what the request was.

    `scope` is the owner of the key, such as `user-1`. `fingerprint` is the request in its shortest form: route, user
    and amount in minor units, or an operator's decision, the payment and the outcome. It is written by version
    `fingerprint_version` of the rule, so that the rule may change without refusing old keys.
    """

    scope: str
    key: str
    fingerprint: str
    fingerprint_version: int = 1


class PaymentTerms(Struct, frozen=True):
    """The facts of a payment without the currency: a request is stored with the fee's rate before its currency."""

    payment_id: Int64
    account_id: Int64
    kind: PaymentKind
    amount_minor: Int64
    fee_minor: Int64

    @property
    def account_minor(self) -> int:
        """The minor units that the account gets or gives at settlement: the amount less or plus the fee."""
        return self.amount_minor + KINDS[self.kind].fee * self.fee_minor


class PaymentFacts(PaymentTerms, frozen=True):
    """The facts of a payment that never change: id, account, kind, amount, fee and currency.

    Everything about a payment begins with these fields: events, the payment itself, its queue entry, and rows of
    tables, which are built column by column. `facts_of` copies them from one to the other.
    """

    currency: str


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all events: the topic under which they are stored, and the version of their shape.

    Fields at their default are not stored, so a default once released must never change.
    """

    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1


class AccountOpened(Event, frozen=True, kw_only=True):
    """A user was given an account with an opening balance."""

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


class AccountAdjusted(Event, frozen=True, kw_only=True):
    """An operator booked money that moved outside of the payment's own end, to or from the user."""

    TOPIC = "account.adjusted"
    payment_id: Int64
    currency: str
    direction: Direction
    amount_minor: Int64


AccountEvent = AccountOpened | FundsHeld | HoldReleased | AccountCredited | AccountDebited | AccountAdjusted


class PaymentRequested(Event, PaymentTerms, frozen=True, kw_only=True):
    """A client asked for a deposit or a withdrawal."""

    TOPIC = "payment.requested"
    fee_rate_ppm: int
    currency: str
    idempotency: IdempotencyKey | None = None
    gateway_key: str = ""

    @property
    def first_gateway_key(self) -> str:
        """The gateway key of the first series; payments of earlier versions do not name it."""
        return self.gateway_key or gateway_key(self.payment_id, 1)


class GatewayAttempted(Event, frozen=True, kw_only=True):
    """The gateway was called, or a call is known to have been lost with its worker.

    `attempt` counts from 1 in its `series`. `late` marks an answer that came after its attempt had timed out; it does
    not count as another attempt. `retry_at` or `inquire_at` is the time of the next step; both are null at the end.
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
    """The gateway was asked what became of a payment, and the answer changed something.

    `call_at` is when a new series begins to call, after the key before it was asked about. `late` marks an inquiry
    about a payment that has failed, and `inquire_at` is when the next such inquiry follows, if one does.
    """

    TOPIC = "payment.inquired"
    VERSION = 2
    payment_id: Int64
    series: int
    gateway_key: str
    answer: InquiryName
    http_status: int | None = None
    error: str | None = None
    reference: str | None = None
    answer_digest: str | None = None
    elapsed_ms: Int64 = 0
    call_at: datetime | None = None
    late: bool = False
    inquire_at: datetime | None = None


class PaymentEnded(Event, PaymentFacts, frozen=True, kw_only=True):
    """The fields of both ends of a payment, so that a reader of one event needs no other.

    `ended_by` is the source of the end: the refused request, the gateway's answer to a call, an inquiry, an operator's
    resolution of a payment in doubt, or an operator's reconciliation of a failed payment that succeeded after all.
    """

    series: int
    ended_by: EndedBy


class PaymentSucceeded(PaymentEnded, frozen=True, kw_only=True):
    """The gateway moved the money."""

    TOPIC = "payment.succeeded"
    reference: str | None = None


class PaymentFailed(PaymentEnded, frozen=True, kw_only=True):
    """No money moved, for `reason`.

    A failure that the gateway has not declined is asked about again, first at `inquire_at`. A request that was refused
    for too little money has in `available_minor` the amount that the account had available, except in the ledger's
    first versions.
    """

    TOPIC = "payment.failed"
    reason: str
    inquire_at: datetime | None = None
    available_minor: Int64 | None = None


class PaymentParked(Event, frozen=True, kw_only=True):
    """The gateway may have moved the money and gave no clear answer; the payment is in doubt."""

    TOPIC = "payment.parked"
    payment_id: Int64
    series: int
    reason: str


class PaymentRequeued(Event, PaymentFacts, frozen=True, kw_only=True):
    """An operator sent a failed payment to the gateway again, as a new series of attempts.

    `gateway_key` is the key of the series. With `asks_first` the gateway is asked about the key before it, and called
    when it says that no money moved.
    """

    TOPIC = "payment.requeued"
    series: int
    gateway_key: str
    why: str
    asks_first: bool = False
    idempotency: IdempotencyKey | None = None


class PaymentContradicted(Event, frozen=True, kw_only=True):
    """The gateway says that it moved the money of a series that had failed here."""

    TOPIC = "payment.contradicted"
    payment_id: Int64
    series: int
    gateway_key: str
    http_status: int | None = None
    reference: str | None = None
    answer_digest: str | None = None


class PaymentResolved(Event, frozen=True, kw_only=True):
    """An operator closed a dead letter with an outcome. The payment's end follows if the outcome changes it.

    `gateway_key` is that of the contradiction that was closed, empty for a letter without one. `gateway_answer` is what
    the gateway said just before, None if it was not asked, and `gateway_error` why it said nothing clear. `forced`
    marks a decision against its clear answer.
    """

    TOPIC = "payment.resolved"
    payment_id: Int64
    outcome: Resolution
    why: str
    idempotency: IdempotencyKey | None = None
    gateway_key: str = ""
    gateway_answer: InquiryName | None = None
    gateway_error: str | None = None
    forced: bool = False


class PaymentAdjusted(Event, frozen=True, kw_only=True):
    """An operator booked what the gateway did beside the payment's end, against the user's account or suspense.

    `direction` is that of the money: into the gateway account or out of it. `gateway_key` is that of the contradiction
    that the booking settles, empty for none.
    """

    TOPIC = "payment.adjusted"
    payment_id: Int64
    currency: str
    direction: Direction
    amount_minor: Int64
    against: AdjustedAgainst
    why: str
    gateway_key: str = ""
    idempotency: IdempotencyKey | None = None


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
    | PaymentAdjusted
)


class LedgerRecovered(Event, frozen=True, kw_only=True):
    """The store was found, or declared, to be behind the world: restored, or on another server than before.

    Numbers from here on begin with `next_account_id` and `next_payment_sequence`; those before may have been given by
    events that were lost. `calls` of the gateway were counted as begun.
    """

    TOPIC = "ledger.recovered"
    why: str
    next_account_id: Int64
    next_payment_sequence: Int64
    calls: int


class GatewayChanged(Event, frozen=True, kw_only=True):
    """An operator paused a gateway or let it be called again, or its circuit breaker opened or closed."""

    TOPIC = "operation.gateway_changed"
    gateway: str
    change: GatewayChange
    why: str


AnyEvent = AccountEvent | PaymentEvent | LedgerRecovered | GatewayChanged

EVENT_BY_TOPIC: Final[dict[str, type[AnyEvent]]] = {each.TOPIC: each for each in get_args(AnyEvent)}
"""Every event class by the topic under which it is stored."""


def facts_of(about: PaymentFacts | PaymentRequested) -> tuple[int, int, PaymentKind, int, int, str]:
    """Return the facts of a payment in order, to build another struct: `PayCall(*facts_of(claim), ...)`."""
    return about.payment_id, about.account_id, about.kind, about.amount_minor, about.fee_minor, about.currency


FIRST_EVENTS: Final = (AccountOpened, PaymentRequested)
"""The events that begin a stream."""

KEYED_EVENTS: Final = (*FIRST_EVENTS, PaymentRequeued, PaymentResolved, PaymentAdjusted)
"""The events that store the idempotency key of their request."""

EventT = TypeVar("EventT", bound=AnyEvent)


class Recorded(Struct, Generic[EventT], frozen=True, kw_only=True):
    """An event with its place and time: a domain event of `eventsourcing`.

    `originator_id` and `originator_version` are the stream and the place in it, from 1. `at` is the database's time in
    UTC, never earlier than that of the event before in the log. `cause` is the command's name, or the stream and
    version of the event that caused this one (`payment-7/3`); `by` is the sender of the command, if known, and
    `operator` the name that an operator gave beside a sender that was proved. `approved_by` is the second sender, who
    has approved a decision that needs two.
    """

    originator_id: str
    originator_version: int
    at: datetime
    command_id: str
    cause: str
    data: EventT
    by: str | None = None
    operator: str | None = None
    approved_by: str | None = None

    @property
    def sender(self) -> tuple[str | None, str | None, str | None]:
        """The sender of the command, proved or named, the name beside a proof, and who has approved it."""
        return self.by, self.operator, self.approved_by
