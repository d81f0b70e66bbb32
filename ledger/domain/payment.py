r"""A payment: its state on the way through the gateway, and the rules for its next event.

    new -> processing -> succeeded
             |   ^  \--> failed            surely no money moved
             |   |          |
             v   |          +-- requeued: processing again, as a new series of attempts
          in_doubt          +-- contradicted: the gateway says success after all

The payment is folded from its events by `evolve`. The functions here decide the events that follow from a report of
the gateway or a decision of an operator. They refuse impossible ones: a second end, or a failure without an inquiry
while money may have moved. `decide` adds the account's events.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, Never

import msgspec

from ledger.domain.commands import (
    Fail,
    GatewayReport,
    InquireAfter,
    RecordGatewayOutcome,
    RecordInquiry,
    RetryAfter,
    Succeed,
)
from ledger.domain.events import (
    EndedBy,
    GatewayAttempted,
    IdempotencyKey,
    PaymentContradicted,
    PaymentEvent,
    PaymentFacts,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Resolution,
    facts_of,
)
from ledger.domain.identifiers import gateway_key, payment_stream, salt_of
from ledger.errors import (
    ContradictionNotNamed,
    NotAdjustable,
    NotRequeueable,
    NotResolvable,
    OutcomeImpossible,
    StaleCommand,
)

PaymentState = Literal["new", "processing", "in_doubt", "succeeded", "failed"]
LetterState = Literal["failed", "in_doubt", "contradicted"]


class Payment(PaymentFacts, frozen=True, kw_only=True):
    """A payment as its events have left it.

    `attempt` counts the attempts of the current `series`, and `last_error` is the error of the last one.
    `unknown` says that an attempt under the current gateway key may have moved the money, and `declined` that the
    gateway has declined under it; `held` that the account's money is set aside for it; `closed` that an operator is
    done with its failure. While the gateway is asked about the old key before a new series calls, `gateway_key` is
    still the old one, and `next_gateway_key` that of the series. `late_inquiries` counts the clear answers after a
    failure that is still to be asked about, and is None when no more inquiries follow. `available_minor` is the money
    that was available when the request was refused for too little of it, if the refusal says so.

    `contradicted` has the gateway keys for which the gateway reported success although the payment had failed under
    them, in the order of the reports, and a key whose movement an operator has booked. Of these, `unreconciled` are not
    dealt with yet.
    """

    version: int
    requested_at: datetime
    gateway_key: str
    state: PaymentState = "new"
    ended_by: EndedBy | None = None
    series: int = 1
    attempt: int = 0
    unknown: bool = False
    declined: bool = False
    next_gateway_key: str | None = None
    late_inquiries: int | None = None
    last_error: str | None = None
    held: bool = False
    closed: bool = False
    contradicted: tuple[str, ...] = ()
    unreconciled: tuple[str, ...] = ()
    available_minor: int | None = None

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
        """Whether the payment failed at its request because of too little money. No gateway knows about it then."""
        return self.ended_by == "request"

    @property
    def accounts_for_its_key(self) -> bool:
        """Whether the payment's end stands for money that moved under its gateway key."""
        return self.state == "succeeded" and self.ended_by != "reconciliation"

    @property
    def asks_first(self) -> bool:
        """Whether the gateway is being asked about the old gateway key before the series calls."""
        return self.next_gateway_key is not None

    @property
    def letter(self) -> LetterState | None:
        """The state of the payment's dead letter, or None."""
        return letter_state(self.state, ended_by=self.ended_by, closed=self.closed, unreconciled=len(self.unreconciled))


# --- dead letters ----------------------------------------------------------------------------------------------------


def letter_state(
    state: PaymentState, *, ended_by: EndedBy | None, closed: bool, unreconciled: int
) -> LetterState | None:
    """Return the state of a payment's dead letter, or None. The payment and its read model share this rule.

    `unreconciled` counts the gateway keys under which money moved that no end of the payment accounts for.
    """
    if state == "in_doubt":
        return "in_doubt"
    if unreconciled and state in {"succeeded", "failed"}:
        return "contradicted"
    return "failed" if state == "failed" and not closed and ended_by != "request" else None


# --- the gateway's answers -------------------------------------------------------------------------------------------


def record_outcome(payment: Payment, command: RecordGatewayOutcome, *, at: datetime) -> list[PaymentEvent]:
    """Decide the events that follow from the outcome of one call.

    A late answer, after its attempt timed out, changes something only if it reports moved money. Delays count from
    `at`, the database's clock. Raises StaleCommand, OutcomeImpossible.
    """
    assert command.attempt >= 1, command
    _refuse_stale(payment, command.seen_version)
    if is_late(payment, command):
        return _record_late(payment, command) if command.outcome == "approved" else []
    expected = (payment.series, payment.attempt + 1)
    if payment.state == "in_doubt" or payment.asks_first or (command.series, command.attempt) != expected:
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
    """Tell whether a report comes late: after the payment's end, or after its series, attempt or key was superseded.

    The inquiry before a series is about the old key, and its answer is superseded by the first call under the new one.
    Raises OutcomeImpossible for a series that nobody began.
    """
    if command.series > payment.series:
        _impossible(payment, f"series {command.series} was never begun")
    if payment.ended or command.series < payment.series:
        return True
    if isinstance(command, RecordGatewayOutcome):
        return command.attempt <= payment.attempt
    return command.gateway_key != payment.gateway_key


def _record_late(payment: Payment, command: RecordGatewayOutcome) -> list[PaymentEvent]:
    if payment.ended or command.gateway_key != payment.gateway_key:
        return _contradict(payment, command)
    late = msgspec.structs.replace(_attempted(command), late=True)
    return [late, _succeeded(payment, "gateway", command.reference)]


def _contradict(payment: Payment, command: GatewayReport) -> list[PaymentEvent]:
    """Record moved money that no end of the payment accounts for, once for each gateway key."""
    is_of_end = command.gateway_key == payment.gateway_key and payment.accounts_for_its_key
    if is_of_end or command.gateway_key in payment.contradicted:
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


def record_inquiry(payment: Payment, command: RecordInquiry, *, at: datetime) -> list[PaymentEvent]:
    """Decide the events that follow from an answer to an inquiry. There are none if nothing changes.

    An answer that comes after the payment has ended, or was queued again, counts only when it tells of moved money, or
    when it was due late. Raises StaleCommand, OutcomeImpossible.
    """
    assert command.inquiry >= 1, command
    _refuse_stale(payment, command.seen_version)
    if is_late_inquiry(payment, command):
        return _record_late_inquiry(payment, command, at=at)
    late = is_late(payment, command)
    if late and (payment.ended or command.answer != "approved" or command.gateway_key != payment.gateway_key):
        return _contradict(payment, command) if command.answer == "approved" else []
    inquired = _inquired(command)
    match command.answer, command.then:
        case "approved", Succeed():
            return [inquired, _succeeded(payment, "inquiry", command.reference)]
        case "declined" | "not_found" | "no_clear_answer", RetryAfter(delay_seconds=delay_seconds) if (
            payment.asks_first
        ):
            return [msgspec.structs.replace(inquired, call_at=at + timedelta(seconds=delay_seconds))]
        case "declined", Fail(reason=reason) if not payment.asks_first:
            return [inquired, _failed(payment, "inquiry", reason or payment.last_error)]
        case "not_found", Fail(reason=reason, inquire_after_seconds=wait_seconds) if not payment.asks_first:
            failed = _failed(payment, "inquiry", reason or payment.last_error)
            inquire_at = None if wait_seconds is None else at + timedelta(seconds=wait_seconds)
            return [inquired, msgspec.structs.replace(failed, inquire_at=inquire_at)]
        case "no_clear_answer", InquireAfter():
            if payment.state == "in_doubt":
                return []
            reason = command.error or "no_clear_answer"
            return [inquired, PaymentParked(payment_id=payment.payment_id, series=payment.series, reason=reason)]
        case _:
            return _impossible(payment, f"{type(command.then).__name__} does not follow from {command.answer}")


def is_late_inquiry(payment: Payment, command: RecordInquiry) -> bool:
    """Tell whether a report answers the late inquiry that is due about a failed payment."""
    if not command.late or payment.late_inquiries is None or command.series != payment.series:
        return False
    return command.inquiry == payment.late_inquiries + 1


def _record_late_inquiry(payment: Payment, command: RecordInquiry, *, at: datetime) -> list[PaymentEvent]:
    """Note what the gateway says, later, of a payment that failed because it did not know it."""
    inquired = msgspec.structs.replace(_inquired(command), late=True)
    match command.answer, command.then:
        case "approved", Succeed():
            return [inquired, *_contradict(payment, command)]
        case "declined" | "not_found", Fail():
            return [inquired]
        case "not_found", InquireAfter(delay_seconds=delay_seconds):
            return [msgspec.structs.replace(inquired, inquire_at=at + timedelta(seconds=delay_seconds))]
        case "no_clear_answer", InquireAfter():
            return []
        case _:
            return _impossible(payment, f"{type(command.then).__name__} does not follow from a late {command.answer}")


# --- the operator's decisions ----------------------------------------------------------------------------------------


def requeue(
    payment: Payment, *, why: str, ask_first: bool, idempotency: IdempotencyKey | None = None
) -> PaymentRequeued:
    """Start a new series of attempts for a payment that failed at the gateway.

    It gets a gateway key of its own only where the gateway itself has declined under the old one, and would answer that
    again. Anywhere else a call under the old key may still be carried out, and only the old key keeps the gateway from
    moving the money twice. The new key follows from the old one: a store that was restored, and has forgotten the
    series, gives the key again under which the gateway may have moved the money. Raises NotRequeueable.
    """
    if payment.letter != "failed":
        raise NotRequeueable(payment_id=payment.payment_id, state=payment.letter or payment.state)
    # An end releases the hold. A failure without the account's event would leave the hold for ever.
    assert not payment.held, payment
    series = payment.series + 1
    declined = payment.declined and not payment.unknown
    key_of_its_own = gateway_key(payment.payment_id, series, salt_of(payment.gateway_key))
    return PaymentRequeued(
        *facts_of(payment),
        series=series,
        gateway_key=key_of_its_own if declined else payment.gateway_key,
        why=why,
        asks_first=ask_first,
        idempotency=idempotency,
    )


def resolve(
    payment: Payment,
    *,
    outcome: Resolution,
    why: str,
    gateway_key: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> list[PaymentEvent]:
    """Close a dead letter. The payment gets an end if it has none, or another one if it had the wrong one.

    Of several contradictions it closes the one that `gateway_key` names; about any other letter it names none. Raises
    NotResolvable, ContradictionNotNamed.
    """
    resolved = PaymentResolved(payment_id=payment.payment_id, outcome=outcome, why=why, idempotency=idempotency)
    match payment.letter, payment.state, outcome:
        case ("in_doubt", _, _) | ("failed", _, "failed") if gateway_key is not None:
            # The event of such a decision has no name, so the fingerprint of its request may not have one either.
            raise ContradictionNotNamed(payment_id=payment.payment_id, gateway_keys="none")
        case "in_doubt", _, "success":
            return [resolved, _succeeded(payment, "resolution", None)]
        case "in_doubt", _, "failed":
            return [resolved, _failed(payment, "resolution", "resolved_as_failed")]
        case "contradicted", "succeeded", "failed":
            raise NotResolvable(payment_id=payment.payment_id, state="contradicted")
        case "contradicted", state, _:
            named = msgspec.structs.replace(resolved, gateway_key=contradiction(payment, gateway_key))
            settles = state == "failed" and outcome == "success"
            return [named, _succeeded(payment, "reconciliation", None)] if settles else [named]
        case "failed", _, "failed":
            return [resolved]
        case _:
            raise NotResolvable(payment_id=payment.payment_id, state=payment.letter or payment.state)


def ensure_adjustable(payment: Payment) -> None:
    """Check that the gateway has done all that it will do by itself. Raises NotAdjustable."""
    if not payment.ended or (payment.refused and not payment.contradicted):
        raise NotAdjustable(payment_id=payment.payment_id, state=payment.state)


def contradiction(payment: Payment, gateway_key: str | None) -> str:
    """Return the open contradiction that is meant: the one that is named, or the only one, or none as an empty key.

    Raises ContradictionNotNamed.
    """
    keys = payment.unreconciled
    if gateway_key in keys or (gateway_key is None and len(keys) <= 1):
        return gateway_key or "".join(keys)
    raise ContradictionNotNamed(payment_id=payment.payment_id, gateway_keys=", ".join(keys) or "none")


def booked_key(payment: Payment, gateway_key: str | None) -> str:
    """Return the gateway key whose movement of money a booking stands for, or an empty one for any other movement.

    It is the contradiction that is meant. For a failed payment without one it is the payment's own key, and a later
    success under that key is the same movement. Raises ContradictionNotNamed.
    """
    own_key = payment.gateway_key
    is_first = payment.state == "failed" and not payment.unreconciled and own_key not in payment.contradicted
    return own_key if is_first and gateway_key in {None, own_key} else contradiction(payment, gateway_key)


# --- parts -----------------------------------------------------------------------------------------------------------


def _refuse_stale(payment: Payment, seen_version: int) -> None:
    if seen_version != payment.version:
        raise StaleCommand(payment_id=payment.payment_id, seen_version=seen_version, version=payment.version)


def _impossible(payment: Payment, why: str) -> Never:
    raise OutcomeImpossible(payment_id=payment.payment_id, state=payment.state, why=why)


def _attempted(command: RecordGatewayOutcome) -> GatewayAttempted:
    return GatewayAttempted(**_told(command), attempt=command.attempt, outcome=command.outcome)


def _inquired(command: RecordInquiry) -> PaymentInquired:
    return PaymentInquired(**_told(command), answer=command.answer)


def _told(command: GatewayReport) -> dict[str, Any]:
    """Return the facts of every answer of the gateway, by the names of the event's fields."""
    names = ("payment_id", "series", "gateway_key", "http_status", "error", "reference", "answer_digest", "elapsed_ms")
    return {name: getattr(command, name) for name in names}


def _succeeded(payment: Payment, ended_by: EndedBy, reference: str | None) -> PaymentSucceeded:
    # Only an operator turns a failure into a success, and only after the gateway has contradicted it.
    assert not payment.ended or (payment.state == "failed" and ended_by == "reconciliation"), (payment, ended_by)
    return PaymentSucceeded(*facts_of(payment), series=payment.series, ended_by=ended_by, reference=reference)


def _failed(payment: Payment, ended_by: EndedBy, reason: str | None) -> PaymentFailed:
    assert not payment.ended, (payment, ended_by)
    assert ended_by != "request", "a refusal at the request is part of the request's decision"
    why = reason or "unknown_reason"
    return PaymentFailed(*facts_of(payment), series=payment.series, ended_by=ended_by, reason=why)
