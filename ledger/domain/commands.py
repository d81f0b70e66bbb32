"""The commands of the ledger and their answers.

A command is a wish, named in the imperative, with everything that deciding it needs: amounts as the client gave them,
the fee's rate, durations instead of times (the writer adds them to the batch's own time). `command_id` is the request's
id where there is one. The type parameter of each command is the type of its answer; a refusal is raised as `Refusal`.

Each command also declares the data that the writer reads before it decides it: `streams`, the accounts and payments
that it names, and `key`, the scope and idempotency key under which the writer looks for an earlier request. They have
no default, so that mypy finds a command that declares nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Final, Generic, TypeVar

from msgspec import Struct

from ledger.domain.events import AdjustedAgainst, InquiryName, OutcomeName, PaymentFacts, Resolution
from ledger.domain.identifiers import account_stream, decision_scope, opening_scope, payment_scope, payment_stream
from ledger.domain.kinds import DEPOSIT, WITHDRAWAL, Direction, Kind, PaymentKind

AnswerT = TypeVar("AnswerT")

ScopedKey = tuple[str, str]
"""The scope of an idempotency key, such as `user-1`, and the key."""


class Command(Struct, Generic[AnswerT], frozen=True, kw_only=True):
    """The fields of all commands: their id, the sender if known, and the name that an operator gives beside it.

    `by` is the sender that was proved, such as `key:4f1c`; without a proof it is the name that an operator gave, and
    `operator` is None. `approved_by` is the second sender, who has approved a decision that needs two.
    """

    command_id: str
    by: str | None = None
    operator: str | None = None
    approved_by: str | None = None


# --- answers ---------------------------------------------------------------------------------------------------------


class AccountOpening(Struct, frozen=True, kw_only=True):
    """An account as it was opened; `replayed` when an earlier request with the same key opened it."""

    account_id: int
    currency: str
    opening_minor: int
    replayed: bool = False


class PaymentAcceptance(PaymentFacts, frozen=True, kw_only=True):
    """A payment as its first batch recorded it, so a replay of the same idempotency key gives the same.

    `refused` says that the account had too little money: the payment was recorded, and failed at once. Then
    `available_minor` is the money that was available; None for a refusal of the ledger's first versions.
    """

    requested_at: datetime
    refused: bool = False
    available_minor: int | None = None
    replayed: bool = False


class PaymentStanding(Struct, frozen=True, kw_only=True):
    """The state of a payment after a command about it, and the version of its last event.

    A booking changes no state, and is answered with `adjusted`.
    `replayed` says that an earlier command with the same key was carried out; `state` is the state after that one.
    """

    payment_id: int
    state: str
    version: int
    replayed: bool = False


# --- requests of a client --------------------------------------------------------------------------------------------


class OpenAccount(Command[AccountOpening], frozen=True, kw_only=True):
    """Open an account with an opening balance of zero or more in a currency.

    An idempotency key belongs to the `caller`, which is empty when the caller is unknown. A request that names no
    currency has the `currency` of the ledger's settings, which may change, and `names_currency` is false. Raises
    AmountInvalid, CurrencyUnknown, IdempotencyKeyReused.
    """

    opening: Decimal
    currency: str
    names_currency: bool = True
    caller: str = ""
    idempotency_key: str | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """None: the account does not exist yet."""
        return ()

    @property
    def key(self) -> ScopedKey | None:
        """The caller's key."""
        return None if self.idempotency_key is None else (opening_scope(self.caller), self.idempotency_key)


class RequestPayment(Command[PaymentAcceptance], frozen=True, kw_only=True):
    """The shared fields of both requests for a payment.

    They are the account, an amount above zero, the fee's rate and the client's key. `currencies` are those of the
    gateway; empty means all. A user with `waiting_max` payments that have not ended gets no further one; 0: any number.
    """

    kind: ClassVar[Kind]
    account_id: int
    amount: Decimal
    fee_rate_ppm: int
    currencies: frozenset[str] = frozenset()
    idempotency_key: str | None = None
    trace_context: str | None = None
    waiting_max: int = 0

    @property
    def streams(self) -> tuple[str, ...]:
        """The account's stream."""
        return (account_stream(self.account_id),)

    @property
    def key(self) -> ScopedKey | None:
        """The user's key."""
        return None if self.idempotency_key is None else (payment_scope(self.account_id), self.idempotency_key)


class RequestDeposit(RequestPayment, frozen=True, kw_only=True):
    """Request a deposit. The account is credited with the amount less the fee once the gateway has moved the money.

    Raises AccountNotFound, AmountInvalid, BalanceLimitExceeded, CurrencyNotSupported, IdempotencyKeyReused.
    """

    kind = DEPOSIT


class RequestWithdrawal(RequestPayment, frozen=True, kw_only=True):
    """Request a withdrawal. Amount and fee are held before the gateway is called.

    Too little available money is not refused: the payment is recorded as failed. Raises AccountNotFound, AmountInvalid,
    CurrencyNotSupported, IdempotencyKeyReused.
    """

    kind = WITHDRAWAL


REQUESTS: Final[Mapping[PaymentKind, type[RequestDeposit | RequestWithdrawal]]] = {
    command.kind.name: command for command in (RequestDeposit, RequestWithdrawal)
}
"""The command that requests a payment of a kind."""


# --- reports of the gateway process ----------------------------------------------------------------------------------


class Succeed(Struct, frozen=True, tag=True):
    """Settle the payment."""


class Fail(Struct, frozen=True, tag=True):
    """Fail the payment for `reason`, or if that is None for the error of its last attempt.

    `unasked` fails it although money may have moved and nobody asked the gateway: only for a gateway that cannot be
    asked, by explicit choice. A payment that the gateway does not know is asked about again after
    `inquire_after_seconds`, None for never.
    """

    reason: str | None = None
    unasked: bool = False
    inquire_after_seconds: float | None = None


class RetryAfter(Struct, frozen=True, tag=True):
    """Call the gateway again, with the same gateway key, this long after the batch's time."""

    delay_seconds: float


class InquireAfter(Struct, frozen=True, tag=True):
    """Inquire about the payment at the gateway, this long after the batch's time."""

    delay_seconds: float


FollowUp = Succeed | Fail | RetryAfter | InquireAfter


class GatewayReport(Command[PaymentStanding], frozen=True, kw_only=True):
    """The result of a call or an inquiry, and the follow-up.

    `seen_version` is the payment's version when the sender read it. A report about an older version is refused.
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

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the payment and of its account."""
        return payment_stream(self.payment_id), account_stream(self.account_id)

    @property
    def key(self) -> ScopedKey | None:
        """None: `seen_version` distinguishes a report from its repetition."""
        return None


class RecordGatewayOutcome(GatewayReport, frozen=True, kw_only=True):
    """Record the outcome of one call of the gateway, or that it was lost with its worker.

    Raises PaymentNotFound, StaleCommand, OutcomeImpossible.
    """

    attempt: int
    outcome: OutcomeName


class RecordInquiry(GatewayReport, frozen=True, kw_only=True):
    """Record the gateway's answer to an inquiry. An unclear answer parks the payment until a later inquiry.

    `inquiry` counts the inquiries of the series from 1. A `late` one is about a payment that has failed, and of those
    only the ones with a clear answer count. Raises PaymentNotFound, StaleCommand, OutcomeImpossible.
    """

    inquiry: int
    answer: InquiryName
    late: bool = False


# --- decisions of an operator ----------------------------------------------------------------------------------------


class OperatorDecision(Command[PaymentStanding], frozen=True, kw_only=True):
    """The fields of an operator's decision: the payment, the reason, and the key of the request.

    With `seen_version`, the decision is about the payment at that version, and is refused when it has changed since.
    """

    payment_id: int
    why: str
    idempotency_key: str | None = None
    seen_version: int | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """The payment's stream. The payment names its account."""
        return (payment_stream(self.payment_id),)

    @property
    def key(self) -> ScopedKey | None:
        """The payment's key."""
        return None if self.idempotency_key is None else (decision_scope(self.payment_id), self.idempotency_key)


class RequeuePayment(OperatorDecision, frozen=True, kw_only=True):
    """Send a payment that failed at the gateway to the gateway again, as a new series of attempts.

    With `ask_first` the gateway is asked about the payment once more before it is called; without it only for a gateway
    that cannot be asked. `currencies` are those of the gateway; empty means all. Raises PaymentNotFound,
    NotRequeueable, CurrencyNotSupported, InsufficientFunds, BalanceLimitExceeded, IdempotencyKeyReused.
    """

    ask_first: bool = True
    currencies: frozenset[str] = frozenset()


class ResolvePayment(OperatorDecision, frozen=True, kw_only=True):
    """Close a dead letter with an outcome that an operator knows from elsewhere.

    Of several contradictions `gateway_key` names the one that is closed; a decision about a payment in doubt, or one
    that has failed, names none. `gateway_answer` is what the gateway has just said, None if it was not asked, and
    `gateway_error` why it said nothing clear. Only with `force` may the outcome go against a clear answer. The gateway
    is asked again about a payment that is closed as failed after `inquire_after_seconds`, None for never, unless it has
    approved or declined it. Raises PaymentNotFound, NotResolvable, ContradictionNotNamed, GatewayDisagrees,
    StaleCommand, IdempotencyKeyReused; InsufficientFunds or BalanceLimitExceeded when success would need more money
    than is available, or exceed the balance limit.
    """

    outcome: Resolution
    gateway_key: str | None = None
    gateway_answer: InquiryName | None = None
    gateway_error: str | None = None
    force: bool = False
    inquire_after_seconds: float | None = None


class AdjustPayment(OperatorDecision, frozen=True, kw_only=True):
    """Book what the gateway did beside the payment's end: money in or out, against the user's account or suspense.

    Without `direction` and `amount` it is what the payment itself would move, without its fee. Of several
    contradictions `gateway_key` names the one that is settled. Raises PaymentNotFound, NotAdjustable,
    ContradictionNotNamed, IdempotencyKeyMissing, AmountInvalid, InsufficientFunds, BalanceLimitExceeded,
    IdempotencyKeyReused.
    """

    against: AdjustedAgainst
    direction: Direction | None = None
    amount: Decimal | None = None
    gateway_key: str | None = None


AnyCommand = (
    OpenAccount
    | RequestDeposit
    | RequestWithdrawal
    | RecordGatewayOutcome
    | RecordInquiry
    | RequeuePayment
    | ResolvePayment
    | AdjustPayment
)
