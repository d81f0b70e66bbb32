"""What has to hold of every event, whatever the rules were by which it was decided.

These are no decisions made a second time: what a fee has to be, or who may withdraw, may change tomorrow, and
yesterday's events stay right. They say what money is: an account is never overdrawn, a payment has one end at a time,
and what its events do to it is done to its account, once and to the cent.
"""

from ledger.account import Account
from ledger.events import (
    AccountCredited,
    AccountDebited,
    AccountEvent,
    FundsHeld,
    GatewayAttempted,
    HoldReleased,
    PaymentEnded,
    PaymentEvent,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.money import BALANCE_MINOR_MAX
from ledger.payment import Payment


def wrong_with_account(after: Account) -> str | None:
    """Say what is wrong with an account as an event leaves it."""
    if not 0 <= after.held_minor <= after.posted_minor <= BALANCE_MINOR_MAX:
        return f"it leaves {after.posted_minor} in {after.id}, of which {after.held_minor} are held"
    return None


def wrong_with_request(event: PaymentRequested) -> str | None:
    """Say what is wrong with a payment's first event."""
    if event.amount_minor <= 0 or not 0 <= event.fee_minor <= event.amount_minor:
        return f"its amount is {event.amount_minor} and its fee {event.fee_minor}"
    return None


def wrong_with_step(before: Payment, event: PaymentEvent) -> str | None:
    """Say why an event cannot happen to a payment, if it cannot."""
    if isinstance(event, PaymentEnded | PaymentRequeued) and _facts(event) != _facts(before):
        return "it is about another payment than the one that was requested"
    match event:
        case PaymentSucceeded(ended_by="reconciliation"):
            impossible = before.state != "failed" or event.series != before.series
        case PaymentSucceeded() | PaymentFailed():
            impossible = before.ended or event.series != before.series
        case PaymentRequeued():
            impossible = before.state != "failed" or event.series != before.series + 1
        case GatewayAttempted(late=False):
            next_one = (before.series, before.attempt + 1)
            impossible = before.ended or (event.series, event.attempt) != next_one
        case PaymentParked():
            impossible = before.ended
        case _:
            impossible = False
    return f"it cannot happen to a payment that is {before.state}" if impossible else None


def asked_of_account(before: Payment | None, after: Payment, event: PaymentEvent) -> AccountEvent | None:
    """Give the account's event that has to come with a payment's event, if one has to."""
    held = before is not None and before.held
    match event:
        case PaymentRequested(kind="withdraw") | PaymentRequeued(kind="withdraw"):
            return FundsHeld(payment_id=after.payment_id, currency=after.currency, amount_minor=after.total_minor)
        case PaymentFailed() if held and not after.refused:
            return HoldReleased(payment_id=after.payment_id, currency=after.currency, amount_minor=after.total_minor)
        case PaymentSucceeded(kind="deposit"):
            return AccountCredited(
                payment_id=after.payment_id,
                currency=after.currency,
                gross_minor=after.amount_minor,
                fee_minor=after.fee_minor,
                net_minor=after.net_minor,
            )
        case PaymentSucceeded():
            return AccountDebited(
                payment_id=after.payment_id,
                currency=after.currency,
                gross_minor=after.amount_minor,
                fee_minor=after.fee_minor,
                total_minor=after.total_minor,
                held_minor=after.total_minor if held else 0,
            )
        case _:
            return None


def _facts(about: PaymentEnded | PaymentRequeued | Payment) -> tuple[object, ...]:
    return about.account_id, about.kind, about.amount_minor, about.fee_minor, about.currency
