"""How events change accounts and payments: each event is applied, and none is refused.

A rule that is tightened tomorrow must not make yesterday's events unreadable, so refusals live in the deciding half:
`account`, `payment` and `decide`. The first event of a stream, and only that one, creates an account or a payment.
"""

from datetime import datetime
from typing import Any, Final, assert_never

import msgspec

from ledger.domain.account import Account
from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    FundsHeld,
    GatewayAttempted,
    HoldReleased,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEvent,
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
from ledger.domain.kinds import KINDS
from ledger.domain.payment import Payment, PaymentState

PENDING_EVENTS: Final = (PaymentRequested, PaymentRequeued, PaymentSucceeded, PaymentFailed)
"""The events for which `pending_change` may be other than 0. The writer skips all others without decoding them."""

PENDING_TOPICS: Final = frozenset(event_class.TOPIC for event_class in PENDING_EVENTS)


def pending_change(event: PaymentEvent) -> tuple[int, int]:
    """Return by how much an event changes the sum of an account's pending deposits: (account_id, change_minor).

    (0, 0) when it changes no such sum.
    """
    sign = waiting_change(event)
    if sign == 0 or not isinstance(event, PENDING_EVENTS) or KINDS[event.kind].direction == "out":
        return 0, 0
    return event.account_id, sign * event.account_minor


def waiting_change(event: PaymentEvent) -> int:
    """Return by how much an event changes the number of its account's payments that have not ended."""
    match event:
        case PaymentRequested() | PaymentRequeued():
            return 1
        case PaymentSucceeded() | PaymentFailed():
            return 0 if event.ended_by == "reconciliation" else -1
        case GatewayAttempted() | PaymentInquired() | PaymentParked() | PaymentContradicted() | PaymentResolved():
            return 0
        case PaymentAdjusted():
            return 0
        case never:
            assert_never(never)


def evolve(known: Any, recorded: Recorded[Any]) -> Account | Payment:  # noqa: ANN401 - of the stream's own kind
    """Apply an event to the aggregate of its stream; `known` is None before the first event."""
    if recorded.originator_id.startswith("account-"):
        return evolve_account(known, recorded)
    return evolve_payment(known, recorded)


# --- accounts --------------------------------------------------------------------------------------------------------


def evolve_account(account: Account | None, recorded: Recorded[AccountEvent]) -> Account:
    """Apply one event to an account. The first event, and only that one, creates it."""
    version, event = recorded.originator_version, recorded.data
    if isinstance(event, AccountOpened):
        return Account(
            account_id=int(recorded.originator_id.removeprefix("account-")),
            version=version,
            currency=event.currency,
            posted_minor=event.opening_minor,
            held_minor=0,
            opened_at=recorded.at,
            opening_minor=event.opening_minor,
        )
    assert account is not None, recorded
    assert version == account.version + 1, (account, recorded)
    posted_minor, held_minor = account.posted_minor, account.held_minor
    match event:
        case FundsHeld():
            held_minor += event.amount_minor
        case HoldReleased():
            held_minor -= event.amount_minor
        case AccountCredited():
            posted_minor += event.net_minor
        case AccountDebited():
            posted_minor -= event.total_minor
            held_minor -= event.held_minor
        case AccountAdjusted():
            posted_minor += event.amount_minor if event.direction == "in" else -event.amount_minor
        case never:
            assert_never(never)
    return msgspec.structs.replace(account, version=version, posted_minor=posted_minor, held_minor=held_minor)


# --- payments --------------------------------------------------------------------------------------------------------


def state_after(state: PaymentState, event: PaymentEvent) -> PaymentState:
    """The state into which an event brings a payment."""
    match event:
        case PaymentRequested():
            return "new"
        case GatewayAttempted(late=False) | PaymentRequeued() | PaymentInquired(call_at=datetime()):
            return "processing"
        case PaymentParked():
            return "in_doubt"
        case PaymentSucceeded():
            return "succeeded"
        case PaymentFailed():
            return "failed"
        case GatewayAttempted() | PaymentInquired() | PaymentContradicted() | PaymentResolved() | PaymentAdjusted():
            return state
        case never:
            assert_never(never)


def evolve_payment(payment: Payment | None, recorded: Recorded[PaymentEvent]) -> Payment:
    """Apply one event to a payment. The first event, and only that one, creates it."""
    version, event = recorded.originator_version, recorded.data
    if isinstance(event, PaymentRequested):
        return _requested(event, version=version, at=recorded.at)
    assert payment is not None, recorded
    assert version == payment.version + 1, (payment, recorded)
    evolved = msgspec.structs.replace(payment, version=version, state=state_after(payment.state, event))
    change = msgspec.structs.replace
    match event:
        case GatewayAttempted(late=False):
            unknown = payment.unknown or event.outcome == "unknown"
            declined = payment.declined or (event.outcome == "declined" and not unknown)
            return change(evolved, attempt=event.attempt, unknown=unknown, declined=declined, last_error=event.error)
        case PaymentInquired():
            return _inquired(evolved, event)
        case PaymentSucceeded() | PaymentFailed():
            asked_again = isinstance(event, PaymentFailed) and event.inquire_at is not None
            return change(
                evolved,
                ended_by=event.ended_by,
                held=False,
                next_gateway_key=None,
                late_inquiries=0 if asked_again else None,
                available_minor=event.available_minor if isinstance(event, PaymentFailed) else None,
            )
        case PaymentRequeued():
            return _requeued(evolved, event)
        case PaymentContradicted():
            key = event.gateway_key
            return change(evolved, contradicted=(*payment.contradicted, key), unreconciled=(*payment.unreconciled, key))
        case PaymentResolved() | PaymentAdjusted():
            return _decided(payment, evolved, event)
        case GatewayAttempted() | PaymentParked():
            return evolved
        case never:
            assert_never(never)


def unreconciled_after(state: PaymentState, event: PaymentResolved | PaymentAdjusted, *, unreconciled: int) -> int:
    """Return the number of contradictions left after an operator's decision about a payment in `state`.

    The decision deals with the contradiction that it names. One of an earlier version names none: its success for a
    failed payment settled the first of them, and any other outcome all, except those of a payment in doubt.
    """
    assert unreconciled >= 0, unreconciled
    if event.gateway_key:
        return max(0, unreconciled - 1)  # a booking may name a movement that the gateway has not reported
    if state == "in_doubt" or isinstance(event, PaymentAdjusted):
        return unreconciled
    return unreconciled - 1 if state == "failed" and event.outcome == "success" else 0


def closes(event: PaymentResolved | PaymentAdjusted) -> bool:
    """Tell whether an operator's decision closes the payment's failure: a booking does if it names a contradiction."""
    return isinstance(event, PaymentResolved) or bool(event.gateway_key)


def _decided(before: Payment, payment: Payment, event: PaymentResolved | PaymentAdjusted) -> Payment:
    """Take in an operator's decision, which deals with the contradiction that it names."""
    keys = before.unreconciled
    left = keys[len(keys) - unreconciled_after(before.state, event, unreconciled=len(keys)) :]
    known = before.contradicted
    if event.gateway_key:
        left = tuple(key for key in keys if key != event.gateway_key)
        known = known if event.gateway_key in known else (*known, event.gateway_key)
    closed = payment.closed or closes(event)
    return msgspec.structs.replace(payment, closed=closed, contradicted=known, unreconciled=left)


def _inquired(payment: Payment, event: PaymentInquired) -> Payment:
    """Take in what an inquiry told of the key in use, and go over to the next key when the series begins to call."""
    if event.answer == "declined" and event.gateway_key == payment.gateway_key:
        payment = msgspec.structs.replace(payment, unknown=False, declined=True)
    if event.late:
        answered = (payment.late_inquiries or 0) + 1
        return msgspec.structs.replace(payment, late_inquiries=None if event.inquire_at is None else answered)
    if event.call_at is None or payment.next_gateway_key is None:
        return payment
    return _under_key(payment, payment.next_gateway_key)


def _requeued(payment: Payment, event: PaymentRequeued) -> Payment:
    """Begin a new series. Its key is used at once, or after the gateway was asked about the old one."""
    requeued = msgspec.structs.replace(
        payment, ended_by=None, series=event.series, attempt=0, held=KINDS[payment.kind].holds, late_inquiries=None
    )
    if event.asks_first:
        return msgspec.structs.replace(requeued, next_gateway_key=event.gateway_key)
    return _under_key(requeued, event.gateway_key)


def _under_key(payment: Payment, key: str) -> Payment:
    """Use a gateway key from now on. Facts about calls under the old key do not hold for another one."""
    if key == payment.gateway_key:
        return msgspec.structs.replace(payment, next_gateway_key=None)
    return msgspec.structs.replace(payment, gateway_key=key, next_gateway_key=None, unknown=False, declined=False)


def _requested(event: PaymentRequested, *, version: int, at: datetime) -> Payment:
    return Payment(
        *facts_of(event),
        version=version,
        requested_at=at,
        gateway_key=event.first_gateway_key,
        held=KINDS[event.kind].holds,
    )
