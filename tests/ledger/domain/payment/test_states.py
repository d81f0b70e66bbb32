"""Evolving: the state of a payment after each history and each event."""

from datetime import timedelta

import msgspec
import pytest

from ledger.domain.events import EndedBy, PaymentEvent
from ledger.domain.evolve import state_after
from ledger.domain.payment import LetterState, Payment, PaymentState
from tests.support.ledgers.payment_histories import (
    AT,
    CONTRADICTED,
    DECLINED,
    HISTORIES,
    INQUIRED,
    OPEN,
    PARKED,
    REQUEUED,
    attempted,
    failed,
    fold,
    requested,
    resolved,
    succeeded,
)


def test_a_request_makes_a_new_payment() -> None:
    """It has all facts of the request. A withdrawal holds money from then on, a deposit does not."""
    payment = fold([], kind="deposit")

    assert payment == Payment(
        payment_id=1025,
        version=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        requested_at=AT + timedelta(seconds=1),
        gateway_key="payment-1025",
    )
    assert payment.id == "payment-1025"
    assert not payment.held
    assert fold([], kind="withdraw").held


def test_a_deposit_credits_less_its_fee_and_a_withdrawal_takes_it_on_top() -> None:
    """A deposit of 200.00 at 2 % credits 196.00; a withdrawal of 200.00 debits 204.00."""
    deposit, withdrawal = fold([], kind="deposit"), fold([], kind="withdraw")

    assert deposit.account_minor == 19_600
    assert withdrawal.account_minor == 20_400


@pytest.mark.parametrize(
    ("history", "state", "series", "attempt", "unknown", "last_error", "ended_by", "letter"),
    [
        ("new", "new", 1, 0, False, None, None, None),
        ("turned away", "processing", 1, 1, False, "gateway_error_429", None, None),
        ("unknown", "processing", 1, 1, True, "timeout", None, None),
        ("unknown, then turned away", "processing", 1, 2, True, "connect_error", None, None),
        ("in doubt", "in_doubt", 1, 1, True, "timeout", None, "in_doubt"),
        ("succeeded", "succeeded", 1, 1, False, None, "gateway", None),
        ("succeeded when in doubt", "succeeded", 1, 1, True, "timeout", "resolution", None),
        ("refused", "failed", 1, 0, False, None, "request", None),
        ("failed", "failed", 1, 1, False, "gateway_error_400", "gateway", "failed"),
        ("failed by inquiry", "failed", 1, 1, True, "timeout", "inquiry", "failed"),
        ("failed and closed", "failed", 1, 1, False, "gateway_error_400", "gateway", None),
        ("failed when in doubt", "failed", 1, 1, True, "timeout", "resolution", None),
        ("requeued", "processing", 2, 0, False, "gateway_error_400", None, None),
        ("requeued and unknown", "processing", 2, 1, True, "timeout", None, None),
        ("requeued and succeeded", "succeeded", 2, 1, False, None, "gateway", None),
        ("requeued and failed", "failed", 2, 1, False, "gateway_error_402", "gateway", "failed"),
        ("contradicted", "failed", 1, 1, False, "gateway_error_400", "gateway", "contradicted"),
        ("contradicted and closed", "failed", 1, 1, False, "gateway_error_400", "gateway", None),
        ("reconciled", "succeeded", 1, 1, False, "gateway_error_400", "reconciliation", None),
        ("contradicted under way", "processing", 2, 0, False, "gateway_error_400", None, None),
        ("contradicted under way, then unknown", "processing", 2, 1, True, "timeout", None, None),
        ("contradicted, then failed", "failed", 2, 1, False, "gateway_error_402", "gateway", "contradicted"),
        ("contradicted, then succeeded", "succeeded", 2, 1, False, None, "gateway", "contradicted"),
        ("closed, then contradicted", "failed", 1, 1, False, "gateway_error_400", "gateway", "contradicted"),
        ("refused, then contradicted", "failed", 1, 0, False, None, "request", "contradicted"),
        ("contradicted when in doubt", "in_doubt", 2, 1, True, "timeout", None, "in_doubt"),
        ("contradicted, then failed when in doubt", "failed", 2, 1, True, "timeout", "resolution", "contradicted"),
        ("contradicted twice", "failed", 2, 1, False, "gateway_error_402", "gateway", "contradicted"),
        ("contradicted twice and closed", "failed", 2, 1, False, "gateway_error_402", "gateway", None),
        (
            "contradicted twice, reconciled once",
            "succeeded",
            2,
            1,
            False,
            "gateway_error_402",
            "reconciliation",
            "contradicted",
        ),
        ("contradicted twice and reconciled", "succeeded", 2, 1, False, "gateway_error_402", "reconciliation", None),
        (
            "reconciled, then contradicted",
            "succeeded",
            2,
            1,
            False,
            "gateway_error_402",
            "reconciliation",
            "contradicted",
        ),
        ("failed unasked", "failed", 1, 1, True, "timeout", "gateway", "failed"),
        ("failed unasked and requeued", "processing", 2, 0, True, "timeout", None, None),
        ("declined, requeued under the same key", "processing", 2, 0, False, "gateway_error_400", None, None),
    ],
)
def test_events_leave_a_payment_in_its_state(
    history: str,
    state: PaymentState,
    series: int,
    attempt: int,
    unknown: bool,  # noqa: FBT001 - a column of the table
    last_error: str | None,
    ended_by: EndedBy | None,
    letter: LetterState | None,
) -> None:
    """Each history, field by field. The letter is the reason for an operator to look."""
    payment = fold(HISTORIES[history])

    assert state == payment.state
    assert (series, attempt) == (payment.series, payment.attempt)
    assert unknown is payment.unknown
    assert last_error == payment.last_error
    assert ended_by == payment.ended_by
    assert letter == payment.letter
    assert (state in {"succeeded", "failed"}) is payment.ended
    assert history.startswith("refused") is payment.refused
    assert payment.version == 1 + len(HISTORIES[history])


def test_every_history_is_in_the_table_above() -> None:
    """A history outside the table would prove nothing."""
    (mark,) = test_events_leave_a_payment_in_its_state.pytestmark  # type: ignore[attr-defined]

    assert list(HISTORIES) == [row[0] for row in mark.args[1]]


@pytest.mark.parametrize("history", HISTORIES)
def test_a_withdrawals_money_is_set_aside_exactly_while_it_has_no_end(history: str) -> None:
    """The hold lasts from the request to the end."""
    payment = fold(HISTORIES[history])

    assert payment.held is not payment.ended
    assert (history in OPEN) is not payment.ended


def test_a_requeued_deposit_holds_nothing() -> None:
    """Only a withdrawal is held again."""
    requeued = REQUEUED.__class__(
        **{name: getattr(REQUEUED, name) for name in REQUEUED.__struct_fields__ if name != "kind"}, kind="deposit"
    )

    payment = fold([*DECLINED, requeued], kind="deposit")

    assert not payment.held
    assert payment.gateway_key == "payment-1025-2"


@pytest.mark.parametrize(
    ("event", "from_new", "from_in_doubt", "from_failed"),
    [
        (requested(), "new", "new", "new"),
        (attempted("unknown"), "processing", "processing", "processing"),
        (REQUEUED, "processing", "processing", "processing"),
        (PARKED, "in_doubt", "in_doubt", "in_doubt"),
        (succeeded("gateway"), "succeeded", "succeeded", "succeeded"),
        (failed("gateway"), "failed", "failed", "failed"),
        (INQUIRED, "new", "in_doubt", "failed"),
        (CONTRADICTED, "new", "in_doubt", "failed"),
        (resolved("failed"), "new", "in_doubt", "failed"),
        (
            msgspec.structs.replace(attempted("approved"), late=True),
            "new",
            "in_doubt",
            "failed",
        ),
    ],
)
def test_an_event_brings_a_payment_into_a_state(
    event: PaymentEvent, from_new: PaymentState, from_in_doubt: PaymentState, from_failed: PaymentState
) -> None:
    """Six kinds of event set the state. The others leave it as it is."""
    assert from_new == state_after("new", event)
    assert from_in_doubt == state_after("in_doubt", event)
    assert from_failed == state_after("failed", event)


def test_a_late_answer_is_no_further_attempt() -> None:
    """It changes neither the count nor the last error."""
    late = msgspec.structs.replace(attempted("approved"), late=True)

    payment = fold([*HISTORIES["unknown, then turned away"], late])

    assert (payment.attempt, payment.last_error, payment.state) == (2, "connect_error", "processing")
