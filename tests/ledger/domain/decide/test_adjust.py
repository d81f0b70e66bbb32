"""An operator books what the gateway did beside a payment's end, one contradiction at a time."""

from decimal import Decimal

import pytest

from ledger.domain.commands import AdjustPayment, Fail, InquireAfter, Succeed
from ledger.domain.events import AccountAdjusted, PaymentAdjusted
from ledger.errors import (
    AmountInvalid,
    BalanceLimitExceeded,
    ContradictionNotNamed,
    IdempotencyKeyMissing,
    InsufficientFunds,
    NotAdjustable,
    NotRequeueable,
    NotResolvable,
    PaymentNotFound,
)
from tests.support.ledgers.paper import (
    PaperWriter,
    adjust,
    deposit,
    inquiry,
    key,
    outcome,
    requeue,
    resolve,
    withdrawal,
)


def paid_twice() -> PaperWriter:
    """A ledger whose withdrawal of 2.00 was paid out under two keys; the second was booked as its success."""
    ledger = PaperWriter()
    ledger.opened("10.00")
    ledger.requested(withdrawal("2.00"))
    ledger.told(1, "declined", Fail("declined"))
    ledger.requeued(1, ask_first=False)
    ledger.told(1, "approved", Succeed())
    ledger.one(outcome(ledger.payment(), "approved", Succeed(), series=1, attempt=1, gateway_key=key(1, 1)))
    return ledger


def test_a_second_payout_is_booked_against_suspense_and_closes_its_letter() -> None:
    """The user is not charged for it; the event says who booked it and why."""
    ledger = paid_twice()
    before = ledger.account()

    standing = ledger.one(adjust(by="Ada"))

    recorded = ledger.store.events("payment-1")[-1]
    assert recorded.data == PaymentAdjusted(
        payment_id=1,
        currency="USD",
        direction="out",
        amount_minor=200,
        against="suspense",
        why="the bank's statement",
        gateway_key=key(1, 1),
    )
    assert (recorded.by, standing.state) == ("Ada", "adjusted")
    assert (ledger.payment().letter, ledger.account()) == (None, before)


def test_an_adjustment_against_the_account_moves_its_money() -> None:
    """The account's event follows from the payment's, in the same batch."""
    ledger = paid_twice()

    ledger.one(adjust(against="account"))

    booked = ledger.store.events("account-1")[-1]
    assert booked.data == AccountAdjusted(payment_id=1, currency="USD", direction="out", amount_minor=200)
    assert booked.cause == f"payment-1/{ledger.payment().version}"
    assert ledger.account().posted_minor == 1000 - 204 - 200


def test_money_that_comes_back_later_is_booked_without_a_contradiction() -> None:
    """So that gateway clearing can be brought to zero. Its key keeps a repetition from booking it again."""
    ledger = paid_twice()
    ledger.one(adjust())
    returned = adjust(direction="in", amount=Decimal("1.50"), idempotency_key="statement 7")

    first, again = ledger.one(returned), ledger.one(returned)

    assert (first.state, first.replayed, again.state, again.replayed) == ("adjusted", False, "adjusted", True)
    back = ledger.store.events("payment-1")[-1].data
    assert isinstance(back, PaymentAdjusted)
    assert (back.direction, back.amount_minor, back.gateway_key) == ("in", 150, "")


def test_a_booking_that_is_repeated_without_a_key_is_refused() -> None:
    """The first one has settled the contradiction, and the second would be another movement of money."""
    ledger = paid_twice()
    booking = adjust(against="account")
    ledger.one(booking)
    booked = ledger.account()

    (again,) = ledger.write(booking)

    assert isinstance(again, IdempotencyKeyMissing)
    assert ledger.account() == booked


@pytest.mark.parametrize("named", [None, key(1, 1)])
def test_a_booking_for_a_failed_payment_stands_for_the_money_that_it_moved(named: str | None) -> None:
    """The gateway's later success is the same movement: it settles nothing, and nobody can queue the payment again."""
    ledger = PaperWriter()
    ledger.opened("10.00")
    ledger.requested(withdrawal("2.00"))
    ledger.told(1, "unknown", InquireAfter(5.0))
    ledger.inquired(1, "not_found", Fail(inquire_after_seconds=3600.0))
    ledger.one(adjust(against="account", amount=Decimal("2.04"), gateway_key=named))
    booked = ledger.payment(), ledger.account()

    late = inquiry(booked[0], "approved", Succeed(), late=True)
    ledger.one(late)
    (requeued, resolved) = [*ledger.write(requeue(1)), *ledger.write(resolve(1, "success"))]

    assert (booked[0].letter, ledger.payment().letter, ledger.payment().state) == (None, None, "failed")
    assert (type(requeued), type(resolved)) == (NotRequeueable, NotResolvable)
    assert ledger.account() == booked[1]
    assert ledger.account().posted_minor == 1000 - 204


def contradicted_twice() -> PaperWriter:
    """A ledger whose deposit failed twice, and whose money came in both times."""
    ledger = PaperWriter()
    ledger.opened("10.00")
    ledger.requested(deposit("2.00"))
    ledger.told(1, "declined", Fail("declined"))
    ledger.requeued(1, ask_first=False)
    ledger.told(1, "declined", Fail("declined"))
    for series in (1, 2):
        report = {"series": series, "attempt": 1, "gateway_key": key(1, series)}
        ledger.one(outcome(ledger.payment(), "approved", Succeed(), **report))
    return ledger


def test_each_contradiction_is_dealt_with_by_itself() -> None:
    """One is settled as the payment's end, the other booked; with several, the operator must name the key."""
    ledger = contradicted_twice()

    unnamed = [*ledger.write(resolve(1, "success")), *ledger.write(resolve(1, "failed")), *ledger.write(adjust())]
    ledger.one(resolve(1, "success", gateway_key=key(1, 2)))
    after_the_first = ledger.payment()
    ledger.one(adjust())

    assert [type(answer) for answer in unnamed] == [ContradictionNotNamed] * 3
    assert key(1, 1) in unnamed[0].facts["gateway_keys"]
    assert (after_the_first.letter, after_the_first.unreconciled) == ("contradicted", (key(1, 1),))
    assert (ledger.payment().state, ledger.payment().letter) == ("succeeded", None)
    assert ledger.account().posted_minor == 1196


def test_an_adjusted_failure_is_not_queued_again() -> None:
    """Its money moved and is booked; the letter is closed with the last contradiction."""
    ledger = contradicted_twice()
    for series in (2, 1):
        ledger.one(adjust(gateway_key=key(1, series)))

    (again,) = ledger.write(requeue(1))

    assert (ledger.payment().state, ledger.payment().letter) == ("failed", None)
    assert isinstance(again, NotRequeueable)
    assert ledger.store.queue == {}


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (adjust(gateway_key="payment-1-9"), ContradictionNotNamed),
        (adjust(amount=Decimal("0.001")), AmountInvalid),
        (adjust(amount=Decimal(0)), AmountInvalid),
        (adjust(against="account", amount=Decimal("7.97")), InsufficientFunds),
        (adjust(payment_id=7), PaymentNotFound),
        (adjust(payment_id=1025), NotAdjustable),
        (adjust(payment_id=2049), NotAdjustable),
    ],
)
def test_what_cannot_be_booked_is_refused(command: AdjustPayment, refusal: type[Exception]) -> None:
    """Nothing is written: neither for a payment on its way, nor for one that no gateway heard of."""
    ledger = paid_twice()
    ledger.one(deposit("1.00"))
    ledger.one(withdrawal("9999.00"))
    before = ledger.store.log.copy()

    (answer,) = ledger.write(command)

    assert ledger.store.log == before
    assert isinstance(answer, refusal)


def test_an_account_is_not_adjusted_above_its_limit() -> None:
    """As for deposits, those on their way count."""
    ledger = paid_twice()
    for _ in range(9):
        ledger.one(deposit("10000000000000", fee_rate_ppm=0))

    (answer,) = ledger.write(adjust(against="account", direction="in", amount=Decimal(1000000000000)))

    assert isinstance(answer, BalanceLimitExceeded)
