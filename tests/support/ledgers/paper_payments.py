"""Payments on a paper ledger that have been declined, are in doubt, or are contradicted."""

from ledger.domain.commands import Fail, InquireAfter, RequestDeposit, RequestWithdrawal, RetryAfter, Succeed
from tests.support.ledgers.paper import PaperWriter

RETRY, INQUIRE = RetryAfter(1.5), InquireAfter(5.0)
FULL = "10000000000000.00"  # the largest single amount

Posted = tuple[int, int]
"""The posted and the held minor units of an account."""


def balance(ledger: PaperWriter, account_id: int = 1) -> Posted:
    """The posted and the held minor units of an account."""
    account = ledger.account(account_id)
    return account.posted_minor, account.held_minor


def declined(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """Request a payment that the gateway declines. Returns its id."""
    payment_id = ledger.requested(command).payment_id
    ledger.told(payment_id, "declined", Fail("declined"))
    return payment_id


def in_doubt(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """Request a payment that is parked in doubt. Returns its id."""
    payment_id = ledger.requested(command).payment_id
    ledger.told(payment_id, "unknown", INQUIRE)
    ledger.inquired(payment_id, "no_clear_answer", INQUIRE)
    return payment_id


def contradicted(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """Request a payment that the gateway declines and later reports as a success. Returns its id."""
    payment_id = declined(ledger, command)
    ledger.told(payment_id, "approved", Succeed(), attempt=1)
    return payment_id
