"""What a payment's step does to its account: admit it, hold its money, settle it, free it, or book an adjustment.

Each function returns the planned events of the account, which stand in the same decision as the payment's.
"""

from collections.abc import Sequence
from datetime import datetime

import ledger.domain.account
from ledger.domain.account import Account
from ledger.domain.commands import PaymentStanding
from ledger.domain.decision import LedgerView, PlannedEvent
from ledger.domain.events import (
    AccountEvent,
    PaymentAdjusted,
    PaymentEnded,
    PaymentEvent,
    PaymentRequested,
    PaymentSucceeded,
    Recorded,
)
from ledger.domain.evolve import evolve_payment, state_after
from ledger.domain.identifiers import payment_stream
from ledger.domain.kinds import KINDS
from ledger.domain.payment import Payment
from ledger.errors import TooManyWaiting


def admit(account: Account, about: PaymentRequested | Payment, view: LedgerView) -> list[PlannedEvent]:
    """Start a payment: check the balance limit for incoming money, and hold outgoing money.

    Raises BalanceLimitExceeded, InsufficientFunds.
    """
    assert account.account_id == about.account_id, (account, about)
    assert account.currency == about.currency, (account, about)
    kind = KINDS[about.kind]
    if kind.direction == "in":
        _ensure_room(account, about.account_minor, view)
    if not kind.holds:
        return []
    held = ledger.domain.account.hold(account, payment_id=about.payment_id, amount_minor=about.account_minor)
    return [PlannedEvent(account.id, held, follows=payment_stream(about.payment_id))]


def ensure_few_waiting(account: Account, waiting_max: int, view: LedgerView) -> None:
    """Check that a user may have one more payment that has not ended. Raises TooManyWaiting."""
    if waiting_max and view.waiting(account.account_id) >= waiting_max:
        raise TooManyWaiting(account_id=account.account_id, waiting_max=waiting_max)


def _ensure_room(account: Account, incoming_minor: int, view: LedgerView) -> None:
    """Check that an account can take a payment on top of all pending ones. Raises BalanceLimitExceeded."""
    pending_minor = view.pending_minor(account.account_id)
    ledger.domain.account.ensure_balance_limit(account, pending_minor=pending_minor, incoming_minor=incoming_minor)


def settle(payment: Payment, events: Sequence[PaymentEvent], view: LedgerView) -> list[PlannedEvent]:
    """Plan the account's event that follows from the end of a payment, if there is one."""
    end = events[-1] if events else None
    if not isinstance(end, PaymentEnded):
        return []
    account = view.account(payment.account_id)
    assert account.currency == payment.currency, (account, payment)
    if isinstance(end, PaymentSucceeded):
        comes_in = KINDS[payment.kind].direction == "in"
        event = _pay_in(account, payment, end, view) if comes_in else _pay_out(account, payment)
    elif payment.held:
        held_minor = payment.account_minor
        event = ledger.domain.account.release(account, payment_id=payment.payment_id, amount_minor=held_minor)
    else:
        return []
    return [PlannedEvent(account.id, event, follows=payment.id)]


def _pay_in(account: Account, payment: Payment, end: PaymentSucceeded, view: LedgerView) -> AccountEvent:
    """Credit an incoming payment. One that had failed is not pending any more, so the limit is checked again."""
    if end.ended_by == "reconciliation":
        _ensure_room(account, payment.account_minor, view)
    credited = ledger.domain.account.credit(
        account, payment_id=payment.payment_id, gross_minor=payment.amount_minor, fee_minor=payment.fee_minor
    )
    # The credit equals the pending amount. Otherwise the balance limit would be computed wrongly.
    assert credited.net_minor == payment.account_minor, (credited, payment)
    return credited


def _pay_out(account: Account, payment: Payment) -> AccountEvent:
    """Debit an outgoing payment, from its hold if it has one."""
    debited = ledger.domain.account.debit(
        account,
        payment_id=payment.payment_id,
        gross_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        held=payment.held,
    )
    # The debit equals the hold. Otherwise a part of the hold would stay for ever.
    assert debited.total_minor == payment.account_minor, (debited, payment)
    return debited


def planned(payment: Payment, events: Sequence[PaymentEvent]) -> list[PlannedEvent]:
    """Plan events of a payment."""
    return [PlannedEvent(payment.id, event) for event in events]


def standing(payment: Payment, events: Sequence[PaymentEvent]) -> PaymentStanding:
    """Return the state and version in which events leave a payment."""
    state = payment.state
    for event in events:
        state = state_after(state, event)
    return PaymentStanding(payment_id=payment.payment_id, state=state, version=payment.version + len(events))


def evolved(payment: Payment, events: Sequence[PaymentEvent], at: datetime) -> Payment:
    """The payment as events of this decision leave it."""
    for version, event in enumerate(events, start=payment.version + 1):
        recorded: Recorded[PaymentEvent] = Recorded(
            originator_id=payment.id, originator_version=version, at=at, command_id="", cause="", data=event
        )
        payment = evolve_payment(payment, recorded)
    return payment


def book(payment: Payment, adjusted: PaymentAdjusted, view: LedgerView) -> list[PlannedEvent]:
    """Do to the account what an operator has booked against it. Raises BalanceLimitExceeded, InsufficientFunds."""
    if adjusted.against == "suspense":
        return []
    account = view.account(payment.account_id)
    if adjusted.direction == "in":
        _ensure_room(account, adjusted.amount_minor, view)
    moved = ledger.domain.account.adjust(
        account,
        payment_id=payment.payment_id,
        direction=adjusted.direction,
        amount_minor=adjusted.amount_minor,
    )
    return [PlannedEvent(account.id, moved, follows=payment.id)]
