"""The rules of an audit that no log can break one by one, because another rule finds the log first."""

import pytest

from ledger.domain.events import PaymentEvent
from ledger.domain.invariants import LEADS, following, wrong_with_step
from tests.support.ledgers.paper import PaperWriter, withdrawal
from tests.support.ledgers.written import (
    adjusted,
    approved,
    contradicted,
    failed,
    inquired,
    parked,
    requested,
    requeued,
    resolved,
    succeeded,
)

EVENTS = [
    requested(),
    approved(),
    inquired(),
    succeeded(),
    failed(),
    parked(),
    requeued(),
    contradicted(),
    resolved(),
    adjusted(),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TOPIC)
def test_only_leads_require_another_event(event: PaymentEvent) -> None:
    """The audit looks at no others, because that would cost a tenth of its time."""
    assert type(event) in LEADS or following(None, event) is None


def test_a_payment_is_requested_once() -> None:
    """A second request in its stream is not a step of it."""
    ledger = PaperWriter()
    ledger.opened()
    payment = ledger.requested(withdrawal("200"))

    assert wrong_with_step(payment, requested()) is not None
