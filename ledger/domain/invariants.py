"""The rules that every event keeps towards the events before it: one that breaks them was not written by this program.

An audit and an import hold each event to them. `wrong_with_step` compares a payment's event with the payment before it,
and `wrong_with_follower` with the event of the same decision from which it follows. `asked_of_account` gives the
account's event that a payment's event brings about, which must equal it to the cent. The rules about an event by itself
are in `ledger.audit.check_events`.

Where deciding has a function for a rule, the rule calls it, such as an operator's requeue and resolution. A rule that
changes needs the old form beside the new one, because old events stay as they are.
"""

from typing import Final, Literal, NamedTuple, assert_never

import msgspec

from ledger.domain.account import Account
from ledger.domain.decision import goes_against
from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    EndedBy,
    FundsHeld,
    GatewayAttempted,
    HoldReleased,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEnded,
    PaymentEvent,
    PaymentFacts,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
    facts_of,
)
from ledger.domain.identifiers import gateway_key, is_gateway_key
from ledger.domain.kinds import KINDS
from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.domain.payment import Payment, booked_key, ensure_adjustable, requeue, resolve
from ledger.errors import ContradictionNotNamed, InsufficientFunds, NotAdjustable, NotRequeueable, NotResolvable

Following = EndedBy | Literal["parking", "contradiction"]
"""The consequence of an event in the same decision: the payment's end, by its `ended_by`, or what else it becomes."""


# --- an event after others -------------------------------------------------------------------------------------------


def wrong_with_account(after: Account) -> str | None:
    """Describe the fault of an account as an event leaves it, or return None."""
    if not 0 <= after.held_minor <= after.posted_minor <= BALANCE_MINOR_MAX:
        return f"it leaves {after.posted_minor} in {after.id}, of which {after.held_minor} are held"
    return None


def wrong_with_step(before: Payment, event: PaymentEvent) -> str | None:
    """Describe why an event cannot happen to a payment, or return None."""
    if isinstance(event, PaymentFacts) and facts_of(event) != facts_of(before):
        return "it is about another payment than the one that was requested"
    if isinstance(event, PaymentAdjusted) and event.currency != before.currency:
        return f"it books {event.currency[:16]!r} for a payment in {before.currency}"
    return None if _is_possible(before, event) else f"it cannot happen to a payment that is {before.state}"


def _is_possible(before: Payment, event: PaymentEvent) -> bool:
    match event:
        case GatewayAttempted():
            return _is_attempt_of(before, event)
        case PaymentSucceeded(ended_by="reconciliation"):
            return before.state == "failed" and event.series == before.series
        case PaymentSucceeded() | PaymentFailed() | PaymentParked():
            return not before.ended and event.series == before.series
        case PaymentInquired():
            return _is_inquiry_of(before, event)
        case PaymentRequeued():
            return _is_requeue_of(before, event)
        case PaymentContradicted():
            return _contradicts(before, event)
        case PaymentResolved():
            return _resolves(before, event)
        case PaymentAdjusted():
            return _adjusts(before, event)
        case PaymentRequested():
            return False
        case never:
            assert_never(never)


def _is_attempt_of(payment: Payment, event: GatewayAttempted) -> bool:
    """Tell whether an attempt is the payment's next one, or a late success of one that was written off."""
    if event.gateway_key != payment.gateway_key or payment.ended:
        return False
    if not event.late:
        is_next = event.attempt == payment.attempt + 1 and event.series == payment.series
        return is_next and payment.state != "in_doubt" and not payment.asks_first
    if event.series == payment.series and event.attempt > payment.attempt:
        return False
    return event.outcome == "approved" and 1 <= event.series <= payment.series and event.attempt >= 1


def _is_inquiry_of(payment: Payment, event: PaymentInquired) -> bool:
    """Tell whether an answer is about the payment's series, or tells late that an earlier one moved the money."""
    if event.gateway_key != payment.gateway_key:
        return False
    if event.late:
        return _is_late_inquiry_of(payment, event)
    if payment.ended or event.inquire_at is not None:
        return False
    if event.call_at is not None:
        return payment.asks_first and event.series == payment.series and event.answer != "approved"
    if event.series == payment.series:
        is_new = event.answer != "no_clear_answer" or payment.state != "in_doubt"
        return is_new and not (payment.asks_first and event.answer in {"declined", "not_found"})
    return event.answer == "approved" and 1 <= event.series < payment.series


def _is_late_inquiry_of(payment: Payment, event: PaymentInquired) -> bool:
    """Tell whether a late inquiry was due, and leads to no other one unless the gateway still knows nothing."""
    if payment.late_inquiries is None or event.series != payment.series or event.call_at is not None:
        return False
    return event.answer != "no_clear_answer" and (event.inquire_at is None or event.answer == "not_found")


def _is_requeue_of(payment: Payment, event: PaymentRequeued) -> bool:
    try:
        now = requeue(payment, why=event.why, ask_first=event.asks_first, idempotency=event.idempotency)
    except NotRequeueable:
        return False
    # Earlier versions gave each series a key of its own, or the old one on demand, and asked nothing first.
    then = {payment.gateway_key, gateway_key(payment.payment_id, now.series)}
    if not event.asks_first and event.gateway_key in then:
        now = msgspec.structs.replace(now, gateway_key=event.gateway_key)
    return now == event


def _contradicts(payment: Payment, event: PaymentContradicted) -> bool:
    """Tell whether money may have moved under a key that no end of the payment accounts for, and this is new."""
    key = event.gateway_key
    if not 1 <= event.series <= payment.series or key in payment.contradicted:
        return False
    if key == payment.gateway_key:
        return payment.ended and not payment.accounts_for_its_key
    return is_gateway_key(key, payment_id=payment.payment_id, series=event.series)


def _resolves(payment: Payment, event: PaymentResolved) -> bool:
    # Earlier versions named no contradiction, and closed the first of them or all.
    of_earlier = payment.letter == "contradicted" and not event.gateway_key
    try:
        named, key = event.gateway_key or None, event.idempotency
        first = resolve(payment, outcome=event.outcome, why=event.why, gateway_key=named, idempotency=key)[0]
    except NotResolvable:
        return False
    except ContradictionNotNamed:
        return of_earlier
    if event.forced != goes_against(payment, event.outcome, event.gateway_answer):
        return False
    asked = {name: getattr(event, name) for name in ("gateway_answer", "gateway_error", "forced")}
    return of_earlier or msgspec.structs.replace(first, **asked) == event


def _adjusts(payment: Payment, event: PaymentAdjusted) -> bool:
    """Tell whether a booking is of a payment that has ended, and settles a contradiction or has a key of its own."""
    if not event.gateway_key and event.idempotency is None:
        return False
    try:
        ensure_adjustable(payment)
        return booked_key(payment, event.gateway_key or None) == event.gateway_key
    except (ContradictionNotNamed, NotAdjustable):
        return False


# --- events of one decision ------------------------------------------------------------------------------------------


LEADS: Final = frozenset({GatewayAttempted, PaymentInquired, PaymentResolved})
"""The classes of events that may require another event of their payment in the same decision."""

FOLLOWERS: Final = frozenset({PaymentSucceeded, PaymentFailed, PaymentParked})
"""The classes of events that only follow from another event of their payment."""


class Lead(NamedTuple):
    """An event with the consequence that it requires, and its position."""

    kind: Following
    recorded: Recorded[PaymentEvent]
    position: int


def following(before: Payment | None, event: PaymentEvent) -> Following | None:
    """Return the consequence that an event must have as the payment's next event in the same decision, or None."""
    match event:
        case GatewayAttempted():
            return "gateway" if event.retry_at is None and event.inquire_at is None else None
        case PaymentRequested() | PaymentSucceeded():
            return None
        case PaymentInquired():
            if event.late:
                is_new = before is not None and event.gateway_key not in before.contradicted
                return "contradiction" if event.answer == "approved" and is_new else None
            if event.call_at is not None:
                return None
            return "parking" if event.answer == "no_clear_answer" else "inquiry"
        case PaymentResolved():
            return _following_resolution(before, event)
        case PaymentFailed() | PaymentParked() | PaymentRequeued() | PaymentContradicted() | PaymentAdjusted():
            return None
        case never:
            assert_never(never)


def _following_resolution(before: Payment | None, event: PaymentResolved) -> Following | None:
    state = None if before is None else before.state
    if state == "in_doubt":
        return "resolution"
    return "reconciliation" if state == "failed" and event.outcome == "success" else None


def wrong_with_follower(before: Payment, recorded: Recorded[PaymentEvent], lead: Lead | None) -> str | None:
    """Say why an event does not follow from the payment's event before it, if it does not.

    `lead` is that event, None when it requires no consequence.
    """
    event = recorded.data
    kind: Following | None = None
    if isinstance(event, PaymentEnded):
        kind = event.ended_by
    elif isinstance(event, PaymentParked):
        kind = "parking"
    elif isinstance(event, PaymentContradicted) and lead is not None:
        kind = "contradiction"
    if lead is None:
        if kind is None or kind == "request":
            return _wrong_with_refusal(before, recorded) if kind == "request" else None
        return f"{event.TOPIC} by {kind} follows from nothing"
    wanted, cause, _ = lead
    if kind != wanted:
        return f"{event.TOPIC} comes where {cause.data.TOPIC} must bring about the payment's {wanted}"
    same_decision = (cause.at, cause.command_id, cause.sender, cause.cause)
    if (recorded.at, recorded.command_id, recorded.sender, recorded.cause) != same_decision:
        return f"{event.TOPIC} is of another decision than the {cause.data.TOPIC} that it follows from"
    return None if _agree(event, cause.data) else f"{event.TOPIC} does not agree with {cause.data.TOPIC}"


def _wrong_with_refusal(before: Payment, recorded: Recorded[PaymentEvent]) -> str | None:
    event = recorded.data
    refused = isinstance(event, PaymentFailed) and event.reason == InsufficientFunds.code and event.inquire_at is None
    if isinstance(event, PaymentFailed) and event.available_minor is not None:
        refused = refused and 0 <= event.available_minor < event.account_minor
    if not refused or before.version != 1 or recorded.at != before.requested_at or recorded.cause != f"{before.id}/1":
        return f"{event.TOPIC} is no refusal of a request"
    return None


def _agree(event: PaymentEvent, cause: PaymentEvent) -> bool:
    """Tell whether an end, or a parking, says what the event says from which it follows."""
    assert isinstance(cause, GatewayAttempted | PaymentInquired | PaymentResolved), cause
    if isinstance(event, PaymentContradicted):
        told_by = (cause.gateway_key, cause.reference) if isinstance(cause, PaymentInquired) else None
        return (event.gateway_key, event.reference) == told_by
    told = cause.answer if isinstance(cause, PaymentInquired) else cause.outcome
    moved = told in {"approved", "success"}
    if isinstance(event, PaymentFailed):
        may_ask = told == "not_found" or (
            isinstance(cause, PaymentResolved) and cause.gateway_answer not in {"approved", "declined"}
        )
        if (event.inquire_at is not None and not may_ask) or event.available_minor is not None:
            return False
    if not isinstance(event, PaymentSucceeded):
        return not moved
    return moved and event.reference == (None if isinstance(cause, PaymentResolved) else cause.reference)


# --- what a payment's event does to its account ----------------------------------------------------------------------


def asked_of_account(before: Payment | None, after: Payment, event: PaymentEvent) -> AccountEvent | None:
    """Return the account's event that must accompany a payment's event, or None."""
    held, kind = before is not None and before.held, KINDS[after.kind]
    payment_id, currency = after.payment_id, after.currency
    match event:
        case PaymentRequested() | PaymentRequeued():
            if not kind.holds:
                return None
            return FundsHeld(payment_id=payment_id, currency=currency, amount_minor=after.account_minor)
        case PaymentFailed():
            if not held or after.refused:
                return None
            return HoldReleased(payment_id=payment_id, currency=currency, amount_minor=after.account_minor)
        case PaymentSucceeded():
            return _credited(after) if kind.direction == "in" else _debited(after, held=held)
        case PaymentAdjusted():
            return _adjusted(event) if event.against == "account" else None
        case GatewayAttempted() | PaymentInquired() | PaymentParked() | PaymentContradicted() | PaymentResolved():
            return None
        case never:
            assert_never(never)


def _adjusted(event: PaymentAdjusted) -> AccountAdjusted:
    return AccountAdjusted(
        payment_id=event.payment_id,
        currency=event.currency,
        direction=event.direction,
        amount_minor=event.amount_minor,
    )


def _credited(payment: Payment) -> AccountCredited:
    return AccountCredited(
        payment_id=payment.payment_id,
        currency=payment.currency,
        gross_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        net_minor=payment.account_minor,
    )


def _debited(payment: Payment, *, held: bool) -> AccountDebited:
    return AccountDebited(
        payment_id=payment.payment_id,
        currency=payment.currency,
        gross_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        total_minor=payment.account_minor,
        held_minor=payment.account_minor if held else 0,
    )
