"""Requeueing and resolving: the payment's events with the account's, and the gateway queue."""

from datetime import timedelta
from typing import Any

import pytest

from ledger.domain.commands import Fail, PaymentStanding, Succeed
from ledger.domain.decision import QueueEntry
from ledger.domain.events import AccountDebited, FundsHeld, PaymentRequeued
from ledger.errors import BalanceLimitExceeded, InsufficientFunds, NotRequeueable, NotResolvable, PaymentNotFound
from tests.support.ledgers.paper import BEGINNING, PaperWriter, deposit, key, requeue, resolve, withdrawal
from tests.support.ledgers.paper_payments import FULL, INQUIRE, Posted, balance, contradicted, declined, in_doubt


def test_a_requeued_deposit_is_called_for_again(ledger: PaperWriter) -> None:
    """The gateway is first asked about the old key, now. The new series counts its attempts from 0."""
    declined(ledger, deposit("2.00", trace_context="00-ab-cd-01"))
    ledger.store.clock += timedelta(days=1)

    standing = ledger.one(requeue(1, why="fixed", by="op", command_id="q"))

    assert standing == PaymentStanding(payment_id=1, state="processing", version=4)
    recorded = ledger.store.events()[-1]
    assert isinstance(recorded.data, PaymentRequeued)
    assert (recorded.data.why, recorded.by, recorded.cause, recorded.command_id) == (
        "fixed",
        "op",
        "RequeuePayment",
        "q",
    )
    assert ledger.store.queue == {
        1: QueueEntry(
            payment_id=1,
            account_id=1,
            kind="deposit",
            amount_minor=200,
            fee_minor=4,
            currency="USD",
            series=2,
            gateway_key=key(1, 1),
            attempt=0,
            action="inquire_first",
            inquiries=0,
            unknown=False,
            payment_version=4,
            due_at=BEGINNING + timedelta(days=1),
            trace_context=None,
        )
    }


def test_a_requeued_withdrawal_takes_a_new_hold(ledger: PaperWriter) -> None:
    """The withdrawal settles from the new hold. The gateway declined under the old key, so the series has a new one."""
    declined(ledger, withdrawal("2.00"))

    ledger.requeued(1, ask_first=False)

    held = ledger.store.events()[-1]
    assert held.data == FundsHeld(payment_id=1, currency="USD", amount_minor=204)
    assert held.cause == "payment-1/4"
    assert balance(ledger) == (1000, 204)
    assert ledger.store.queue[1].gateway_key == key(1, 2)
    ledger.told(1, "approved", Succeed())
    assert balance(ledger) == (796, 0)


def test_a_requeue_is_refused_where_the_money_is_gone(ledger: PaperWriter) -> None:
    """Another withdrawal has taken the money. Nothing changes."""
    declined(ledger, withdrawal("5.00"))
    ledger.one(withdrawal("5.00"))
    before = ledger.store.log.copy()

    with pytest.raises(InsufficientFunds) as refused:
        ledger.one(requeue(1))

    assert refused.value.facts == {"currency": "USD", "available_minor": 490, "needed_minor": 510}
    assert before == ledger.store.log
    assert list(ledger.store.queue) == [1025]


def test_a_requeue_is_refused_where_the_account_has_no_room(ledger: PaperWriter) -> None:
    """Other deposits have taken the room."""
    declined(ledger, deposit(FULL, fee_rate_ppm=0))
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])

    with pytest.raises(BalanceLimitExceeded):
        ledger.one(requeue(1))

    assert 1 not in ledger.store.queue


def test_only_what_is_there_and_failed_is_requeued(ledger: PaperWriter) -> None:
    """Refused: a payment under way, one that was refused at its request, and one that does not exist."""
    ledger.write(deposit(), withdrawal("99.00"))

    answers = ledger.write(requeue(1), requeue(1025), requeue(7))

    assert [type(answer) for answer in answers] == [NotRequeueable, NotRequeueable, PaymentNotFound]


@pytest.mark.parametrize(
    ("story", "request_payment", "resolution", "after"),
    [
        (in_doubt, deposit, "success", (1196, 0)),
        (in_doubt, deposit, "failed", (1000, 0)),
        (in_doubt, withdrawal, "success", (796, 0)),
        (in_doubt, withdrawal, "failed", (1000, 0)),
        (contradicted, deposit, "success", (1196, 0)),
        (contradicted, deposit, "failed", (1000, 0)),
        (contradicted, withdrawal, "success", (796, 0)),
        (contradicted, withdrawal, "failed", (1000, 0)),
        (declined, deposit, "failed", (1000, 0)),
        (declined, withdrawal, "failed", (1000, 0)),
    ],
)
def test_a_resolved_payment_moves_its_money_once_or_not_at_all(
    ledger: PaperWriter, story: Any, request_payment: Any, resolution: Any, after: Posted
) -> None:
    """After any story, the resolved payment is not a dead letter, has no queue entry and no hold."""
    payment_id = story(ledger, request_payment("2.00"))

    standing = ledger.one(resolve(payment_id, resolution, by="op"))

    payment = ledger.payment()
    assert after == balance(ledger)
    assert standing == PaymentStanding(
        payment_id=1, state="succeeded" if resolution == "success" else "failed", version=payment.version
    )
    assert payment.letter is None
    assert ledger.store.queue == {}
    with pytest.raises(NotResolvable):
        ledger.one(resolve(payment_id, resolution))


def test_a_reconciled_withdrawal_is_taken_from_what_is_available(ledger: PaperWriter) -> None:
    """Its hold was released when it failed, so the debit uses no hold."""
    contradicted(ledger, withdrawal("2.00"))

    ledger.resolved(1, "success")

    debited = ledger.store.events("account-1")[-1]
    assert debited.data == AccountDebited(
        payment_id=1, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=0
    )
    assert debited.cause == f"payment-1/{ledger.payment().version}"


def test_a_withdrawal_is_reconciled_only_when_it_is_covered(ledger: PaperWriter) -> None:
    """Otherwise the dead letter stays open."""
    contradicted(ledger, withdrawal("5.00"))
    ledger.one(withdrawal("5.00"))

    with pytest.raises(InsufficientFunds):
        ledger.one(resolve(1, "success"))

    assert ledger.payment().letter == "contradicted"
    ledger.told(1025, "declined", Fail())
    assert ledger.resolved(1, "success").state == "succeeded"
    assert balance(ledger) == (490, 0)


def test_a_deposit_is_reconciled_only_when_there_is_room(ledger: PaperWriter) -> None:
    """When it failed, its room became free for other deposits."""
    contradicted(ledger, deposit(FULL, fee_rate_ppm=0))
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])

    with pytest.raises(BalanceLimitExceeded):
        ledger.one(resolve(1, "success"))

    assert ledger.payment().letter == "contradicted"


def test_a_deposit_in_doubt_keeps_its_room(ledger: PaperWriter) -> None:
    """So it can be settled after any number of other deposits, without another check."""
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])
    ledger.told(1, "unknown", INQUIRE)
    ledger.inquired(1, "no_clear_answer", INQUIRE)

    assert ledger.resolved(1, "success").state == "succeeded"
    assert balance(ledger) == (1000 + 10**15, 0)


def test_only_what_is_there_and_a_letter_is_resolved(ledger: PaperWriter) -> None:
    """Refused: a payment under way, and one that does not exist."""
    ledger.one(deposit())

    answers = ledger.write(resolve(1, "failed"), resolve(7, "failed"))

    assert [type(answer) for answer in answers] == [NotResolvable, PaymentNotFound]


def test_a_payment_is_settled_once_when_both_series_moved_the_money(ledger: PaperWriter) -> None:
    """The second movement becomes a dead letter, not a second credit."""
    declined(ledger, deposit("2.00"))
    ledger.requeued(1, ask_first=False)
    ledger.told(1, "approved", Succeed())

    ledger.told(1, "approved", Succeed(), series=1, attempt=1)

    assert balance(ledger) == (1196, 0)
    assert ledger.payment().letter == "contradicted"
    assert ledger.resolved(1, "success").letter is None
    assert balance(ledger) == (1196, 0)
