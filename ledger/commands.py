"""What the ledger can be asked to do.

A command is a wish, named in the imperative, with everything that deciding it needs: amounts as the client gave them,
the fee's rate, durations instead of times (the writer adds them to the batch's own time). `command_id` is the request's
id where there is one. Each command says what it is answered with; a refusal is raised as a `Refusal` instead.
"""

from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from msgspec import Struct

from ledger.events import InquiryName, OutcomeName, PaymentKind, Resolution

AnswerT = TypeVar("AnswerT")


class Command(Struct, Generic[AnswerT], frozen=True, kw_only=True):
    """What all commands share: their id, and who sends them where that is known."""

    command_id: str
    by: str | None = None


# --- answers ---------------------------------------------------------------------------------------------------------


class AccountOpening(Struct, frozen=True, kw_only=True):
    """An account as it was opened; `replayed` when an earlier request with the same key opened it."""

    account_id: int
    currency: str
    opening_minor: int
    replayed: bool = False


class PaymentAcceptance(Struct, frozen=True, kw_only=True):
    """A payment as its first batch recorded it, and so always the same for the same idempotency key.

    `refused` says that the account had too little money: the payment was recorded, and failed at once.
    """

    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    requested_at: datetime
    refused: bool = False
    replayed: bool = False


class PaymentStanding(Struct, frozen=True, kw_only=True):
    """Where a payment stands after a command about it, and the version of its last event."""

    payment_id: int
    state: str
    version: int


# --- what a client asks for ------------------------------------------------------------------------------------------


class OpenAccount(Command[AccountOpening], frozen=True, kw_only=True):
    """Open an account with what it holds from the start, zero or more, in a currency.

    An idempotency key belongs to the `caller`, by whatever name he is known; empty where nobody is. Raises
    AmountInvalid, CurrencyUnknown, IdempotencyKeyReused.
    """

    opening: Decimal
    currency: str
    caller: str = ""
    idempotency_key: str | None = None


class RequestPayment(Command[PaymentAcceptance], frozen=True, kw_only=True):
    """What both requests for a payment have: the account, an amount above zero, the fee's rate and the client's key."""

    account_id: int
    amount: Decimal
    fee_rate_ppm: int
    idempotency_key: str | None = None
    trace_context: str | None = None


class RequestDeposit(RequestPayment, frozen=True, kw_only=True):
    """Take a deposit, to be credited less its fee once the gateway has moved the money.

    Raises AccountNotFound, AmountInvalid, BalanceLimitExceeded, IdempotencyKeyReused.
    """


class RequestWithdrawal(RequestPayment, frozen=True, kw_only=True):
    """Pay out, with the fee on top; both are set aside before the gateway is called.

    Too little available money is no refusal but a payment that is recorded as failed. Raises AccountNotFound,
    AmountInvalid, IdempotencyKeyReused.
    """


# --- what the gateway process reports --------------------------------------------------------------------------------


class Succeed(Struct, frozen=True, tag=True):
    """The payment is settled."""


class Fail(Struct, frozen=True, tag=True):
    """The payment is failed for `reason`, or where that is None for the error of its last attempt.

    `unasked` fails it although money may have moved and nobody asked the gateway: only for a gateway that cannot be
    asked, by explicit choice.
    """

    reason: str | None = None
    unasked: bool = False


class RetryAfter(Struct, frozen=True, tag=True):
    """The gateway is called again, with the same key, this long after the batch's time."""

    delay_seconds: float


class InquireAfter(Struct, frozen=True, tag=True):
    """The gateway is asked what became of the payment, this long after the batch's time."""

    delay_seconds: float


FollowUp = Succeed | Fail | RetryAfter | InquireAfter


class GatewayReport(Command[PaymentStanding], frozen=True, kw_only=True):
    """What a call or an inquiry told, and what is to follow from it.

    `seen_version` is the payment's version when the sender looked at it; a report about an older one is refused.
    """

    payment_id: int
    account_id: int
    seen_version: int
    series: int
    gateway_key: str
    http_status: int | None = None
    error: str | None = None
    reference: str | None = None
    answer_digest: str | None = None
    elapsed_ms: int = 0
    then: FollowUp


class RecordGatewayOutcome(GatewayReport, frozen=True, kw_only=True):
    """Record what one call of the gateway told us, or that it was lost with its worker.

    Raises PaymentNotFound, StaleCommand, OutcomeImpossible.
    """

    attempt: int
    outcome: OutcomeName


class RecordInquiry(GatewayReport, frozen=True, kw_only=True):
    """Record what the gateway says became of a payment. No clear answer parks it, and it is asked again later.

    `inquiry` counts the inquiries of the series from 1. Raises PaymentNotFound, StaleCommand, OutcomeImpossible.
    """

    inquiry: int
    answer: InquiryName


# --- what an operator decides ----------------------------------------------------------------------------------------


class RequeuePayment(Command[PaymentStanding], frozen=True, kw_only=True):
    """Send a payment that failed at the gateway there again, as a new series of attempts.

    The series has a gateway key of its own, unless `same_gateway_key` says that the old one is to be used. Raises
    PaymentNotFound, NotRequeueable, InsufficientFunds, BalanceLimitExceeded.
    """

    payment_id: int
    why: str
    same_gateway_key: bool = False


class ResolvePayment(Command[PaymentStanding], frozen=True, kw_only=True):
    """Close a dead letter with an outcome that an operator knows from elsewhere.

    Raises PaymentNotFound, NotResolvable; InsufficientFunds or BalanceLimitExceeded when success would need money that
    is not there, or would bring more than an account may hold.
    """

    payment_id: int
    outcome: Resolution
    why: str


AnyCommand = (
    OpenAccount
    | RequestDeposit
    | RequestWithdrawal
    | RecordGatewayOutcome
    | RecordInquiry
    | RequeuePayment
    | ResolvePayment
)
