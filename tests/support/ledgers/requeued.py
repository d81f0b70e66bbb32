"""A payment on paper that fails, is in doubt or is asked about late, for tests of requeues and late inquiries."""

from typing import Any

from ledger.domain.commands import Fail, FollowUp, InquireAfter
from ledger.domain.decision import QueueEntry
from ledger.domain.events import (
    InquiryName,
)
from ledger.domain.payment import Payment
from tests.support.ledgers.paper import (
    PaperWriter,
    inquiry,
    key,
    withdrawal,
)

FIRST, SECOND = key(1, 1), key(1, 2)
HOUR, DAY = 3600.0, 86400.0
NOT_KNOWN = Fail(inquire_after_seconds=HOUR)


def requested(**facts: Any) -> PaperWriter:
    """A ledger with one withdrawal on its way."""
    ledger = PaperWriter()
    ledger.opened("1000")
    ledger.requested(withdrawal("200", **facts))
    return ledger


def not_found() -> PaperWriter:
    """A ledger whose payment failed because the gateway did not know it after a time-out."""
    ledger = requested()
    ledger.told(1, "unknown", InquireAfter(5.0), error="timeout")
    ledger.inquired(1, "not_found", NOT_KNOWN, error="not_found")
    return ledger


def in_doubt() -> PaperWriter:
    """A ledger whose payment may have moved its money, and the gateway does not say."""
    ledger = requested()
    ledger.told(1, "unknown", InquireAfter(5.0), error="timeout")
    ledger.inquired(1, "no_clear_answer", InquireAfter(5.0), error="timeout")
    return ledger


def declined() -> PaperWriter:
    """A ledger whose payment the gateway declined."""
    ledger = requested()
    ledger.told(1, "declined", Fail("declined"))
    return ledger


def late(payment: Payment, answer: InquiryName, then: FollowUp, *, number: int = 1) -> Any:
    """Report the answer to a late inquiry."""
    return inquiry(payment, answer, then, late=True, inquiry=number)


def entry(ledger: PaperWriter) -> QueueEntry | None:
    """The queue entry of the payment, if there is one."""
    return ledger.store.queue.get(1)
