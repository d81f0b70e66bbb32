"""The next attempt of a payment, as a table of reports and the events that they add."""

from datetime import timedelta

import pytest

from ledger.domain.commands import Fail, FollowUp, Succeed
from ledger.domain.events import GatewayAttempted, OutcomeName, PaymentFailed, PaymentSucceeded
from ledger.domain.payment import record_outcome
from ledger.errors import OutcomeImpossible
from tests.support.ledgers.paper import inquiry, outcome
from tests.support.ledgers.payment_histories import (
    AT,
    HISTORIES,
    INQUIRE,
    OPEN,
    PARKED_ONES,
    RETRY,
    UNASKED,
    fold,
    reported,
)

NEXT_ATTEMPT: list[tuple[bool, OutcomeName, FollowUp, str]] = [
    # unknown before, the gateway's outcome, the follow-up, the expected events
    (False, "approved", Succeed(), "gateway_attempted succeeded"),
    (False, "approved", Fail(), "impossible"),
    (False, "approved", UNASKED, "impossible"),
    (False, "approved", RETRY, "impossible"),
    (False, "approved", INQUIRE, "impossible"),
    (False, "declined", Succeed(), "impossible"),
    (False, "declined", Fail(), "gateway_attempted failed"),
    (False, "declined", UNASKED, "gateway_attempted failed"),
    (False, "declined", RETRY, "impossible"),
    (False, "declined", INQUIRE, "gateway_attempted"),
    (False, "turned_away", Succeed(), "impossible"),
    (False, "turned_away", Fail(), "gateway_attempted failed"),
    (False, "turned_away", UNASKED, "gateway_attempted failed"),
    (False, "turned_away", RETRY, "gateway_attempted"),
    (False, "turned_away", INQUIRE, "gateway_attempted"),
    (False, "unknown", Succeed(), "impossible"),
    (False, "unknown", Fail(), "impossible"),
    (False, "unknown", UNASKED, "gateway_attempted failed"),
    (False, "unknown", RETRY, "gateway_attempted"),
    (False, "unknown", INQUIRE, "gateway_attempted"),
    (True, "approved", Succeed(), "gateway_attempted succeeded"),
    (True, "approved", Fail(), "impossible"),
    (True, "approved", UNASKED, "impossible"),
    (True, "approved", RETRY, "impossible"),
    (True, "approved", INQUIRE, "impossible"),
    (True, "declined", Succeed(), "impossible"),
    (True, "declined", Fail(), "impossible"),
    (True, "declined", UNASKED, "gateway_attempted failed"),
    (True, "declined", RETRY, "impossible"),
    (True, "declined", INQUIRE, "gateway_attempted"),
    (True, "turned_away", Succeed(), "impossible"),
    (True, "turned_away", Fail(), "impossible"),
    (True, "turned_away", UNASKED, "gateway_attempted failed"),
    (True, "turned_away", RETRY, "gateway_attempted"),
    (True, "turned_away", INQUIRE, "gateway_attempted"),
    (True, "unknown", Succeed(), "impossible"),
    (True, "unknown", Fail(), "impossible"),
    (True, "unknown", UNASKED, "gateway_attempted failed"),
    (True, "unknown", RETRY, "gateway_attempted"),
    (True, "unknown", INQUIRE, "gateway_attempted"),
]


@pytest.mark.parametrize(
    ("history", "told", "then", "expected"),
    [
        (history, told, then, expected)
        for history, unknown in OPEN.items()
        for unknown_before, told, then, expected in NEXT_ATTEMPT
        if unknown is unknown_before and history not in PARKED_ONES
    ],
)
def test_the_next_attempt_of_an_open_payment(history: str, told: OutcomeName, then: FollowUp, expected: str) -> None:
    """A payment does not fail before an inquiry while money may have moved, unless the gateway cannot be asked."""
    payment = fold(HISTORIES[history])

    assert expected == reported(payment, outcome(payment, told, then))


@pytest.mark.parametrize("history", PARKED_ONES)
@pytest.mark.parametrize(
    ("told", "then"), [("approved", Succeed()), ("turned_away", RETRY), ("unknown", INQUIRE), ("declined", UNASKED)]
)
def test_a_parked_payment_has_no_next_attempt(history: str, told: OutcomeName, then: FollowUp) -> None:
    """The worker only inquires about it and does not call, so such a report is a bug."""
    payment = fold(HISTORIES[history])

    assert reported(payment, outcome(payment, told, then)) == "impossible"


@pytest.mark.parametrize("history", HISTORIES)
def test_an_answer_about_a_series_that_nobody_began_is_impossible(history: str) -> None:
    """In every state of the payment, for calls and for inquiries."""
    payment = fold(HISTORIES[history])
    later = payment.series + 1

    assert reported(payment, outcome(payment, "approved", Succeed(), series=later, attempt=1)) == "impossible"
    assert reported(payment, inquiry(payment, "approved", Succeed(), series=later)) == "impossible"


def test_an_attempt_is_recorded_with_all_that_the_gateway_told() -> None:
    """The event has the time of the next call too, by the batch's clock."""
    payment = fold(HISTORIES["turned away"])
    report = outcome(
        payment,
        "unknown",
        RETRY,
        http_status=502,
        error="gateway_error_502",
        reference="r-1",
        answer_digest="ab" * 32,
        elapsed_ms=17,
    )

    events = record_outcome(payment, report, at=AT)

    assert events == [
        GatewayAttempted(
            payment_id=1025,
            series=1,
            attempt=2,
            gateway_key="payment-1025",
            outcome="unknown",
            http_status=502,
            error="gateway_error_502",
            reference="r-1",
            answer_digest="ab" * 32,
            elapsed_ms=17,
            late=False,
            retry_at=AT + timedelta(seconds=1.5),
            inquire_at=None,
        )
    ]


def test_an_attempt_after_which_the_gateway_is_asked_says_when() -> None:
    """The event has the time of the inquiry."""
    payment = fold([])

    (event,) = record_outcome(payment, outcome(payment, "unknown", INQUIRE), at=AT)

    assert isinstance(event, GatewayAttempted)
    assert (event.retry_at, event.inquire_at) == (None, AT + timedelta(seconds=5))


def test_a_success_tells_all_that_its_reader_needs() -> None:
    """The account, the amount, and the source of the answer."""
    payment = fold(HISTORIES["requeued"], kind="withdraw")

    attempt, end = record_outcome(payment, outcome(payment, "approved", Succeed(), reference="r-9"), at=AT)

    assert isinstance(attempt, GatewayAttempted)
    assert (attempt.retry_at, attempt.inquire_at, attempt.late) == (None, None, False)
    assert end == PaymentSucceeded(
        payment_id=1025,
        account_id=1,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=2,
        ended_by="gateway",
        reference="r-9",
    )


@pytest.mark.parametrize(
    ("then", "error", "reason"),
    [
        (Fail("declined"), "gateway_error_400", "declined"),
        (Fail(), "gateway_error_400", "gateway_error_400"),
        (Fail(), None, "unknown_reason"),
        (Fail("", unasked=True), "timeout", "timeout"),
    ],
)
def test_a_failure_tells_its_reason(then: Fail, error: str | None, reason: str) -> None:
    """The reason of the follow-up, or else the error of the attempt. It is never empty."""
    payment = fold([])

    _, end = record_outcome(payment, outcome(payment, "declined", then, error=error), at=AT)

    assert end == PaymentFailed(
        payment_id=1025,
        account_id=1,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=1,
        ended_by="gateway",
        reason=reason,
    )


@pytest.mark.parametrize("history", OPEN)
@pytest.mark.parametrize(("series_later", "attempts_later"), [(0, 2), (0, 100), (1, 1), (1, 0), (7, 3)])
def test_an_attempt_that_is_not_the_next_one_is_impossible(
    history: str, series_later: int, attempts_later: int
) -> None:
    """A gap in the attempts, or a series that nobody began, is a bug and is not recorded."""
    payment = fold(HISTORIES[history])
    series, attempt = payment.series + series_later, payment.attempt + attempts_later
    if attempt <= payment.attempt:
        attempt = payment.attempt + 1
    report = outcome(payment, "turned_away", RETRY, series=series, attempt=attempt)

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, report, at=AT)

    assert refused.value.facts == {
        "payment_id": 1025,
        "state": payment.state,
        "why": f"series {series} was never begun"
        if series_later
        else f"attempt {attempt} of series {series} is not the next one",
    }


def test_failing_a_doubtful_payment_unasked_says_why_not() -> None:
    """The refusal gives an operator the reason."""
    payment = fold(HISTORIES["unknown"])

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, outcome(payment, "declined", Fail("declined")), at=AT)

    assert refused.value.why == "money may have moved and the gateway was not asked"


def test_a_follow_up_that_does_not_follow_is_named() -> None:
    """The refusal names the follow-up and the outcome."""
    payment = fold([])

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, outcome(payment, "approved", RETRY), at=AT)

    assert refused.value.why == "RetryAfter does not follow from approved"
