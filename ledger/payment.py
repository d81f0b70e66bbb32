r"""A payment: how far it is on its way through the gateway, and what may happen to it next.

    new -> processing -> succeeded
             |   ^  \--> failed            surely no money moved
             |   |          |
             v   |          +-- requeued: processing again, as a new series of attempts
          in_doubt          +-- contradicted: the gateway says success after all

The payment is folded from its events by `evolve`, which applies and never refuses. The functions above it decide what a
report of the gateway or a word of an operator does to it, and refuse what can never be right: a second end, or failing
a payment whose money may have moved when nobody has asked. What follows for the account is decided in
`ledger.decisions`.
"""

from datetime import datetime, timedelta
from typing import Literal, Never, assert_never

import msgspec
from msgspec import Struct

from ledger.commands import Fail, GatewayReport, InquireAfter, RecordGatewayOutcome, RecordInquiry, RetryAfter, Succeed
from ledger.errors import NotRequeueable, NotResolvable, OutcomeImpossible, StaleCommand
from ledger.events import (
    EndedBy,
    GatewayAttempted,
    PaymentContradicted,
    PaymentEvent,
    PaymentFailed,
    PaymentInquired,
    PaymentKind,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
    Resolution,
)
from ledger.identifiers import gateway_key, payment_stream

PaymentState = Literal["new", "processing", "in_doubt", "succeeded", "failed"]
LetterState = Literal["failed", "in_doubt", "reconcile"]


class Payment(Struct, frozen=True, kw_only=True):
    """A payment as its events have left it.

    `attempt` counts the attempts of the current `series`, and `last_error` is what went wrong with the last of them.
    `unknown` says that an attempt under the current gateway key may have moved the money and no inquiry has told;
    `held` that the account's money is set aside for it; `closed` that an operator is done with its failure.

    `contradicted` has the gateway keys of which the gateway told success although the payment had failed under them, in
    the order in which it told; the first `reconciled` of them have been dealt with.
    """

    payment_id: int
    version: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    requested_at: datetime
    gateway_key: str
    state: PaymentState = "new"
    ended_by: EndedBy | None = None
    series: int = 1
    attempt: int = 0
    unknown: bool = False
    last_error: str | None = None
    held: bool = False
    closed: bool = False
    contradicted: tuple[str, ...] = ()
    reconciled: int = 0

    @property
    def id(self) -> str:
        """The payment's stream, by which `eventsourcing` knows it."""
        return payment_stream(self.payment_id)

    @property
    def ended(self) -> bool:
        """Whether the payment is settled or failed."""
        return self.state in {"succeeded", "failed"}

    @property
    def refused(self) -> bool:
        """Whether the payment failed for want of money as it was requested, so that no gateway knows of it."""
        return self.ended_by == "request"

    @property
    def failed_unasked(self) -> bool:
        """Whether the payment was failed although money may have moved, as the gateway could not be asked."""
        return self.state == "failed" and self.ended_by == "gateway" and self.unknown

    def in_doubt_under(self, gateway_key: str) -> bool:
        """Whether money may already have moved under the gateway key that a new series is to use."""
        return self.failed_unasked and gateway_key == self.gateway_key

    @property
    def unreconciled(self) -> tuple[str, ...]:
        """The gateway keys under which money moved that no end of the payment accounts for."""
        return self.contradicted[self.reconciled :]

    @property
    def net_minor(self) -> int:
        """What a deposit credits once it is settled."""
        return self.amount_minor - self.fee_minor

    @property
    def total_minor(self) -> int:
        """What a withdrawal takes from the account: amount and fee."""
        return self.amount_minor + self.fee_minor

    @property
    def letter(self) -> LetterState | None:
        """Why an operator has to look at the payment, if he has to."""
        if self.state == "in_doubt":
            return "in_doubt"
        if self.unreconciled and self.ended:
            return "reconcile"
        return "failed" if self.state == "failed" and not self.closed and not self.refused else None


# --- the gateway's answers -------------------------------------------------------------------------------------------


def record_outcome(payment: Payment, command: RecordGatewayOutcome, *, at: datetime) -> list[PaymentEvent]:
    """Decide what the outcome of one call does.

    An answer that comes after its attempt was written off changes something only when it tells of moved money.
    Raises StaleCommand, OutcomeImpossible.
    """
    _refuse_stale(payment, command.seen_version)
    if is_late(payment, command):
        return _record_late(payment, command) if command.outcome == "approved" else []
    if payment.state == "in_doubt" or (command.series, command.attempt) != (payment.series, payment.attempt + 1):
        _impossible(payment, f"attempt {command.attempt} of series {command.series} is not the next one")
    then, attempted = command.then, _attempted(command)
    match command.outcome, then:
        case "approved", Succeed():
            return [attempted, _succeeded(payment, "gateway", command.reference)]
        case "declined" | "turned_away" | "unknown", Fail(reason=reason, unasked=unasked):
            if (payment.unknown or command.outcome == "unknown") and not unasked:
                _impossible(payment, "money may have moved and the gateway was not asked")
            return [attempted, _failed(payment, "gateway", reason or command.error)]
        case "turned_away" | "unknown", RetryAfter(delay_seconds=delay_seconds):
            return [msgspec.structs.replace(attempted, retry_at=at + timedelta(seconds=delay_seconds))]
        case "declined" | "turned_away" | "unknown", InquireAfter(delay_seconds=delay_seconds):
            return [msgspec.structs.replace(attempted, inquire_at=at + timedelta(seconds=delay_seconds))]
        case _:
            return _impossible(payment, f"{type(then).__name__} does not follow from {command.outcome}")


def is_late(payment: Payment, command: GatewayReport) -> bool:
    """Tell whether a report comes after its series or its attempt was written off.

    Raises OutcomeImpossible for a series that nobody began.
    """
    if command.series > payment.series:
        _impossible(payment, f"series {command.series} was never begun")
    if payment.ended or command.series < payment.series:
        return True
    return isinstance(command, RecordGatewayOutcome) and command.attempt <= payment.attempt


def _record_late(payment: Payment, command: RecordGatewayOutcome) -> list[PaymentEvent]:
    if payment.ended or command.gateway_key != payment.gateway_key:
        return _contradict(payment, command)
    late = msgspec.structs.replace(_attempted(command), late=True)
    return [late, _succeeded(payment, "gateway", command.reference)]


def _contradict(payment: Payment, command: GatewayReport) -> list[PaymentEvent]:
    """Take note of money moved under a gateway key whose moving no end of the payment accounts for; once a key."""
    accounted_for = payment.state == "succeeded" and payment.ended_by != "reconciliation"
    if command.gateway_key in payment.contradicted or (accounted_for and command.gateway_key == payment.gateway_key):
        return []
    return [
        PaymentContradicted(
            payment_id=payment.payment_id,
            series=command.series,
            gateway_key=command.gateway_key,
            http_status=command.http_status,
            reference=command.reference,
            answer_digest=command.answer_digest,
        )
    ]


def record_inquiry(payment: Payment, command: RecordInquiry) -> list[PaymentEvent]:
    """Decide what an answer to an inquiry does; one that changes nothing is no event.

    An answer that comes after the payment has ended, or was queued again, counts only when it tells of moved money.
    Raises StaleCommand, OutcomeImpossible.
    """
    _refuse_stale(payment, command.seen_version)
    late = is_late(payment, command)
    if late and (payment.ended or command.answer != "approved" or command.gateway_key != payment.gateway_key):
        return _contradict(payment, command) if command.answer == "approved" else []
    inquired = PaymentInquired(
        payment_id=payment.payment_id,
        series=command.series,
        gateway_key=command.gateway_key,
        answer=command.answer,
        http_status=command.http_status,
        error=command.error,
        reference=command.reference,
        answer_digest=command.answer_digest,
        elapsed_ms=command.elapsed_ms,
    )
    match command.answer, command.then:
        case "approved", Succeed():
            return [inquired, _succeeded(payment, "inquiry", command.reference)]
        case "declined", Fail(reason=reason):
            return [inquired, _failed(payment, "inquiry", reason or payment.last_error)]
        case "no_clear_answer", InquireAfter():
            if payment.state == "in_doubt":
                return []
            reason = command.error or "no_clear_answer"
            return [inquired, PaymentParked(payment_id=payment.payment_id, series=payment.series, reason=reason)]
        case _:
            return _impossible(payment, f"{type(command.then).__name__} does not follow from {command.answer}")


# --- the operator's word ---------------------------------------------------------------------------------------------


def requeue(payment: Payment, *, why: str, same_gateway_key: bool) -> PaymentRequeued:
    """Start a new series of attempts for a payment that failed at the gateway.

    It gets a gateway key of its own, as the gateway answers a used one with the old refusal; but not where money may
    have moved under the old one, or where `same_gateway_key` is wished for. Raises NotRequeueable.
    """
    if payment.letter != "failed":
        raise NotRequeueable(payment_id=payment.payment_id, state=payment.letter or payment.state)
    series = payment.series + 1
    keep_key = same_gateway_key or payment.failed_unasked
    return PaymentRequeued(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=series,
        gateway_key=payment.gateway_key if keep_key else gateway_key(payment.payment_id, series),
        why=why,
    )


def resolve(payment: Payment, *, outcome: Resolution, why: str) -> list[PaymentEvent]:
    """Close a dead letter; the payment gets an end with it where it has none, or another where it had the wrong one.

    Of several contradictions, success for a failed payment settles the first, and the others stay to be reconciled.
    Raises NotResolvable.
    """
    resolved = PaymentResolved(payment_id=payment.payment_id, outcome=outcome, why=why)
    match payment.letter, payment.state, outcome:
        case "in_doubt", _, "success":
            return [resolved, _succeeded(payment, "resolution", None)]
        case "in_doubt", _, "failed":
            return [resolved, _failed(payment, "resolution", "resolved_as_failed")]
        case "reconcile", "failed", "success":
            return [resolved, _succeeded(payment, "reconciliation", None)]
        case ("reconcile", "failed", "failed") | ("reconcile", "succeeded", "success") | ("failed", _, "failed"):
            return [resolved]
        case _:
            raise NotResolvable(payment_id=payment.payment_id, state=payment.letter or payment.state)


# --- evolving --------------------------------------------------------------------------------------------------------


def state_after(state: PaymentState, event: PaymentEvent) -> PaymentState:
    """The state into which an event brings a payment."""
    match event:
        case PaymentRequested():
            return "new"
        case GatewayAttempted(late=False) | PaymentRequeued():
            return "processing"
        case PaymentParked():
            return "in_doubt"
        case PaymentSucceeded():
            return "succeeded"
        case PaymentFailed():
            return "failed"
        case GatewayAttempted() | PaymentInquired() | PaymentContradicted() | PaymentResolved():
            return state
        case never:
            assert_never(never)


def evolve(payment: Payment | None, recorded: Recorded[PaymentEvent]) -> Payment:
    """Apply one event to a payment; the first one, and only that, makes it out of nothing."""
    version, event = recorded.originator_version, recorded.data
    if isinstance(event, PaymentRequested):
        return _requested(event, version=version, at=recorded.at)
    assert payment is not None, recorded
    evolved = msgspec.structs.replace(payment, version=version, state=state_after(payment.state, event))
    change = msgspec.structs.replace
    match event:
        case GatewayAttempted(late=False):
            unknown = payment.unknown or event.outcome == "unknown"
            return change(evolved, attempt=event.attempt, unknown=unknown, last_error=event.error)
        case PaymentSucceeded() | PaymentFailed():
            return change(evolved, ended_by=event.ended_by, held=False)
        case PaymentRequeued():
            return change(
                evolved,
                ended_by=None,
                series=event.series,
                attempt=0,
                gateway_key=event.gateway_key,
                unknown=payment.in_doubt_under(event.gateway_key),
                held=payment.kind == "withdraw",
            )
        case PaymentContradicted():
            return change(evolved, contradicted=(*payment.contradicted, event.gateway_key))
        case PaymentResolved():
            return change(evolved, closed=True, reconciled=_reconciled(payment, event.outcome))
        case GatewayAttempted() | PaymentInquired() | PaymentParked():
            return evolved
        case never:
            assert_never(never)


def _reconciled(payment: Payment, outcome: Resolution) -> int:
    """How many contradictions have been dealt with, once an operator has resolved the payment."""
    if payment.state == "in_doubt":
        return payment.reconciled
    if payment.state == "failed" and outcome == "success":
        return payment.reconciled + 1
    return len(payment.contradicted)


def _requested(event: PaymentRequested, *, version: int, at: datetime) -> Payment:
    return Payment(
        payment_id=event.payment_id,
        version=version,
        account_id=event.account_id,
        kind=event.kind,
        amount_minor=event.amount_minor,
        fee_minor=event.fee_minor,
        currency=event.currency,
        requested_at=at,
        gateway_key=gateway_key(event.payment_id, 1),
        held=event.kind == "withdraw",
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _refuse_stale(payment: Payment, seen_version: int) -> None:
    if seen_version != payment.version:
        raise StaleCommand(payment_id=payment.payment_id, seen_version=seen_version, version=payment.version)


def _impossible(payment: Payment, why: str) -> Never:
    raise OutcomeImpossible(payment_id=payment.payment_id, state=payment.state, why=why)


def _attempted(command: RecordGatewayOutcome) -> GatewayAttempted:
    return GatewayAttempted(
        payment_id=command.payment_id,
        series=command.series,
        attempt=command.attempt,
        gateway_key=command.gateway_key,
        outcome=command.outcome,
        http_status=command.http_status,
        error=command.error,
        reference=command.reference,
        answer_digest=command.answer_digest,
        elapsed_ms=command.elapsed_ms,
    )


def _succeeded(payment: Payment, ended_by: EndedBy, reference: str | None) -> PaymentSucceeded:
    return PaymentSucceeded(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=payment.series,
        ended_by=ended_by,
        reference=reference,
    )


def _failed(payment: Payment, ended_by: EndedBy, reason: str | None) -> PaymentFailed:
    return PaymentFailed(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=payment.series,
        ended_by=ended_by,
        reason=reason or "unknown_reason",
    )
