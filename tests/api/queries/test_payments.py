"""A payment that the read model does not have yet is shown as it was opened, and never in a later state."""

from typing import cast

import pytest

from api.queries.payments import opened
from ledger.application.application import Placed
from ledger.domain.commands import Fail, RequestDeposit, RequestWithdrawal, RetryAfter, Succeed
from ledger.domain.events import PaymentEvent, Recorded
from ledger.domain.payment import Payment
from tests.support.ledgers.paper import BEGINNING, PaperWriter, deposit, withdrawal

History = list[Placed[PaymentEvent]]


@pytest.fixture
def ledger() -> PaperWriter:
    """A ledger with account 1, which holds ten dollars."""
    writer = PaperWriter()
    writer.opened("10.00")
    return writer


def history_of(ledger: PaperWriter, payment: Payment) -> History:
    """A payment's events with their positions."""
    placed = enumerate(ledger.store.events(), start=1)
    return [
        Placed(position, cast("Recorded[PaymentEvent]", recorded))
        for position, recorded in placed
        if recorded.originator_id == payment.id
    ]


@pytest.mark.parametrize("command", [deposit("2.00"), withdrawal("2.00")])
def test_an_accepted_payment_is_new_whatever_has_happened_since(
    ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal
) -> None:
    """Its attempts, errors and end are left to the read model."""
    payment = ledger.requested(command)
    at_first = opened(history_of(ledger, payment))

    ledger.told(payment.payment_id, "turned_away", RetryAfter(1.0), error="gateway_error_429")
    ledger.told(payment.payment_id, "approved", Succeed())

    assert at_first == opened(history_of(ledger, payment))
    assert (at_first.status, at_first.attempts, at_first.last_error) == ("new", 0, None)
    assert (at_first.created_at, at_first.updated_at) == (BEGINNING, BEGINNING)
    assert (at_first.payment_id, at_first.kind, at_first.amount_minor, at_first.fee_minor) == (
        payment.payment_id,
        payment.kind,
        200,
        4,
    )


def test_a_payment_that_fails_at_the_gateway_was_opened_as_new(ledger: PaperWriter) -> None:
    """Only a refusal at the request is part of how it was opened."""
    payment = ledger.requested(withdrawal("2.00"))

    ledger.told(payment.payment_id, "declined", Fail(), error="gateway_error_400")

    assert opened(history_of(ledger, payment)).status == "new"


def test_a_payment_refused_for_want_of_money_was_opened_as_failed(ledger: PaperWriter) -> None:
    """With the reason, as the read model shows it from then on."""
    payment = ledger.requested(withdrawal("20.00"))

    row = opened(history_of(ledger, payment))

    assert (row.status, row.last_error, row.attempts) == ("failed", "insufficient_funds", 0)
