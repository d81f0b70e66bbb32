"""Requests for deposits and withdrawals: events, holds, the gateway queue, refusals."""

from datetime import timedelta
from typing import Any

import pytest

from ledger.domain.commands import AnyCommand, Fail, PaymentAcceptance
from ledger.domain.decision import QueueEntry
from ledger.domain.events import FundsHeld, PaymentFailed, PaymentRequested
from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.errors import AccountNotFound, AmountInvalid, BalanceLimitExceeded
from tests.support.ledgers.paper import PaperWriter, deposit, key, withdrawal
from tests.support.ledgers.paper_payments import FULL, balance


def test_a_deposit_is_recorded_and_queued_and_moves_nothing_yet(ledger: PaperWriter) -> None:
    """200.00 at 2 % will credit 196.00 once the gateway has moved the money."""
    ledger.store.clock += timedelta(seconds=3)
    at = ledger.store.clock

    answer = ledger.one(deposit("200.00", command_id="r-1", by="shop", trace_context="00-ab-cd-01"))

    assert answer == PaymentAcceptance(
        payment_id=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        requested_at=at,
        refused=False,
        replayed=False,
    )
    recorded = ledger.store.events()[-1]
    assert recorded.data == PaymentRequested(
        payment_id=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
        idempotency=None,
        gateway_key=key(),
    )
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("payment-1", 1, at)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("r-1", "RequestDeposit", "shop")
    assert ledger.store.queue == {
        1: QueueEntry(
            payment_id=1,
            account_id=1,
            kind="deposit",
            amount_minor=20_000,
            fee_minor=400,
            currency="USD",
            series=1,
            gateway_key=key(),
            attempt=0,
            action="pay",
            inquiries=0,
            unknown=False,
            payment_version=1,
            due_at=at,
            trace_context="00-ab-cd-01",
        )
    }
    assert balance(ledger) == (1000, 0)


def test_a_withdrawal_sets_amount_and_fee_aside_before_the_gateway_is_called(ledger: PaperWriter) -> None:
    """The same decision has the request and the hold, which names the request as its cause."""
    answer = ledger.one(withdrawal("5.00", command_id="r-2", by="shop"))

    assert (answer.kind, answer.amount_minor, answer.fee_minor, answer.refused) == ("withdraw", 500, 10, False)
    requested, held = ledger.store.events()[-2:]
    assert (requested.originator_id, requested.cause) == ("payment-1", "RequestWithdrawal")
    assert held.data == FundsHeld(payment_id=1, currency="USD", amount_minor=510)
    assert (held.originator_id, held.originator_version, held.cause) == ("account-1", 2, "payment-1/1")
    assert (held.command_id, held.by) == ("r-2", "shop")
    assert balance(ledger) == (1000, 510)
    assert ledger.store.queue[1].kind == "withdraw"


def test_a_withdrawal_of_too_much_is_recorded_as_failed_at_once(ledger: PaperWriter) -> None:
    """One cent is missing for the fee. The payment is recorded, and the gateway is not called."""
    answer = ledger.one(withdrawal("9.81"))

    assert (answer.payment_id, answer.refused) == (1, True)
    requested, failed = ledger.store.events("payment-1")
    assert isinstance(requested.data, PaymentRequested)
    assert failed.data == PaymentFailed(
        payment_id=1,
        account_id=1,
        kind="withdraw",
        amount_minor=981,
        fee_minor=20,
        currency="USD",
        series=1,
        ended_by="request",
        reason="insufficient_funds",
        available_minor=1000,
    )
    assert failed.cause == "payment-1/1"
    assert ledger.store.queue == {}
    assert balance(ledger) == (1000, 0)


def test_all_that_is_there_can_be_withdrawn_with_its_fee() -> None:
    """A second withdrawal of one cent finds nothing."""
    ledger = PaperWriter()
    ledger.opened("10.20")

    first, second = ledger.write(withdrawal("10.00"), withdrawal("0.01"))

    assert (first.refused, second.refused) == (False, True)
    assert ledger.account().available_minor == 0


def test_each_request_of_a_batch_sees_the_ones_before_it(ledger: PaperWriter) -> None:
    """Ten dollars cover one withdrawal of six, not a second one, and then one of a dollar."""
    answers = ledger.write(withdrawal("6.00"), withdrawal("6.00"), withdrawal("1.00"))

    assert [answer.refused for answer in answers] == [False, True, False]
    assert [answer.payment_id for answer in answers] == [1, 1025, 2049]
    assert balance(ledger) == (1000, 612 + 102)


def test_a_payment_has_the_slot_of_its_account(ledger: PaperWriter) -> None:
    """The head counts all payments; the id follows from the count and the account."""
    ledger.opened("0")

    answers = ledger.write(deposit(account_id=2), deposit(account_id=1), deposit(account_id=2))

    assert [answer.payment_id for answer in answers] == [2, 1025, 2050]
    assert ledger.store.head.next_payment_sequence == 3


@pytest.mark.parametrize("request_payment", [deposit, withdrawal])
@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("0", "it is zero"),
        ("0.000", "it is zero"),
        ("-1", "it is below zero"),
        ("0.001", "USD has 2 decimals and it has more"),
        ("10000000000000.01", "it is above 10000000000000.00, the most a single amount may be"),
    ],
)
def test_what_is_no_amount_to_pay_is_refused(ledger: PaperWriter, request_payment: Any, amount: str, why: str) -> None:
    """Nothing is recorded."""
    with pytest.raises(AmountInvalid) as refused:
        ledger.one(request_payment(amount))

    assert why == refused.value.why
    assert len(ledger.store.log) == 1


@pytest.mark.parametrize("command", [deposit(account_id=9), withdrawal(account_id=9, idempotency_key="k")])
def test_a_payment_needs_an_account(ledger: PaperWriter, command: AnyCommand) -> None:
    """An account that nobody opened has no payments."""
    with pytest.raises(AccountNotFound) as refused:
        ledger.one(command)

    assert refused.value.facts == {"account_id": 9}
    assert ledger.store.keys == {}


def test_a_deposit_that_could_overfill_the_account_is_refused(ledger: PaperWriter) -> None:
    """All pending deposits count, also those of the same batch. The limit is exact to the cent."""
    fill = [deposit(FULL, fee_rate_ppm=0) for _ in range(9)]
    last = [deposit(amount, fee_rate_ppm=0) for amount in ("71992547399.92", "71992547399.91", "0.01")]

    *filled, too_much, just_right, one_cent_more = ledger.write(*fill, *last)

    assert all(isinstance(answer, PaymentAcceptance) for answer in [*filled, just_right])
    assert isinstance(too_much, BalanceLimitExceeded)
    assert isinstance(one_cent_more, BalanceLimitExceeded)
    assert too_much.facts == {"account_id": 1, "limit_minor": BALANCE_MINOR_MAX}
    assert ledger.store.pending_minor(1) + 1000 == BALANCE_MINOR_MAX
    assert len(ledger.store.queue) == 10


def test_a_failed_deposit_makes_room_again(ledger: PaperWriter) -> None:
    """A failed deposit is not pending any more."""
    first, *_ = ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])
    with pytest.raises(BalanceLimitExceeded):
        ledger.one(deposit(FULL, fee_rate_ppm=0))

    ledger.told(first.payment_id, "declined", Fail())

    assert ledger.one(deposit(FULL, fee_rate_ppm=0)).amount_minor == 10**15
