"""Inquiries about a payment, as tables of answers and the events that they add."""

import pytest

from ledger.domain.commands import Fail, FollowUp, Succeed
from ledger.domain.events import InquiryName, PaymentFailed, PaymentInquired, PaymentParked, PaymentSucceeded
from ledger.domain.payment import record_inquiry
from ledger.errors import OutcomeImpossible
from tests.support.ledgers.paper import inquiry
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


@pytest.mark.parametrize("history", OPEN)
@pytest.mark.parametrize(
    ("answer", "then", "expected"),
    [
        ("approved", Succeed(), "inquired succeeded"),
        ("approved", Fail(), "impossible"),
        ("approved", RETRY, "impossible"),
        ("approved", INQUIRE, "impossible"),
        ("declined", Succeed(), "impossible"),
        ("declined", Fail(), "inquired failed"),
        ("declined", RETRY, "impossible"),
        ("declined", INQUIRE, "impossible"),
        ("not_found", Fail(), "inquired failed"),
        ("not_found", RETRY, "impossible"),
        ("not_found", INQUIRE, "impossible"),
        ("no_clear_answer", Succeed(), "impossible"),
        ("no_clear_answer", Fail(), "impossible"),
        ("no_clear_answer", UNASKED, "impossible"),
        ("no_clear_answer", RETRY, "impossible"),
        ("no_clear_answer", INQUIRE, "inquired parked"),
    ],
)
def test_an_inquiry_about_an_open_payment(history: str, answer: InquiryName, then: FollowUp, expected: str) -> None:
    """A clear answer ends it, any other parks it. A parked payment gets no event without a clear answer."""
    payment = fold(HISTORIES[history])
    if history in PARKED_ONES and expected == "inquired parked":
        expected = ""

    assert expected == reported(payment, inquiry(payment, answer, then))


@pytest.mark.parametrize("history", sorted(set(HISTORIES) - set(OPEN)))
@pytest.mark.parametrize(
    ("answer", "then"), [("declined", Fail()), ("no_clear_answer", INQUIRE), ("declined", INQUIRE)]
)
def test_an_inquiry_about_an_ended_payment_tells_nothing_new(history: str, answer: InquiryName, then: FollowUp) -> None:
    """The worker sent the inquiry before the payment ended."""
    payment = fold(HISTORIES[history])

    assert reported(payment, inquiry(payment, answer, then)) == ""


def test_an_inquiry_about_an_earlier_series_tells_nothing_of_this_one() -> None:
    """Each series has its own gateway key, so an answer about the old one does not end the new one."""
    payment = fold(HISTORIES["requeued and unknown"])

    assert reported(payment, inquiry(payment, "declined", Fail(), series=1)) == ""


@pytest.mark.parametrize("history", ["failed", "failed by inquiry", "failed and closed", "failed when in doubt"])
def test_success_told_by_an_inquiry_after_we_failed_it_contradicts(history: str) -> None:
    """As for a call: an operator resolved the payment as failed while the inquiry was under way."""
    payment = fold(HISTORIES[history])

    assert reported(payment, inquiry(payment, "approved", Succeed())) == "contradicted"


def test_success_of_an_earlier_series_told_by_an_inquiry_contradicts() -> None:
    """As for a call: the failed series has moved the money."""
    payment = fold(HISTORIES["requeued"])

    assert reported(payment, inquiry(payment, "approved", Succeed(), series=1)) == "contradicted"


def test_an_inquiry_is_recorded_with_all_that_the_gateway_told() -> None:
    """The payment is parked with the gateway's error as the reason."""
    payment = fold(HISTORIES["unknown"])
    told = {"http_status": 200, "reference": "r", "answer_digest": "ef" * 32, "elapsed_ms": 9}

    events = record_inquiry(payment, inquiry(payment, "no_clear_answer", INQUIRE, error="pending", **told), at=AT)

    assert events == [
        PaymentInquired(
            payment_id=1025,
            series=1,
            gateway_key="payment-1025",
            answer="no_clear_answer",
            http_status=200,
            error="pending",
            reference="r",
            answer_digest="ef" * 32,
            elapsed_ms=9,
        ),
        PaymentParked(payment_id=1025, series=1, reason="pending"),
    ]


def test_a_payment_is_parked_for_a_reason_also_when_the_gateway_gave_no_error() -> None:
    """The dead letter always has a reason."""
    payment = fold(HISTORIES["unknown"])

    _, parked = record_inquiry(payment, inquiry(payment, "no_clear_answer", INQUIRE), at=AT)

    assert parked == PaymentParked(payment_id=1025, series=1, reason="no_clear_answer")


@pytest.mark.parametrize(("reason", "expected"), [("declined", "declined"), (None, "timeout")])
def test_a_payment_that_an_inquiry_failed_says_why(reason: str | None, expected: str) -> None:
    """The reason is the gateway's, or the error of the last attempt if the gateway never saw the payment."""
    payment = fold(HISTORIES["in doubt"])

    _, end = record_inquiry(payment, inquiry(payment, "declined", Fail(reason)), at=AT)

    assert isinstance(end, PaymentFailed)
    assert (end.ended_by, end.reason, end.series) == ("inquiry", expected, 1)


def test_a_payment_that_an_inquiry_settled_says_so() -> None:
    """The end has the gateway's reference."""
    payment = fold(HISTORIES["in doubt"])

    _, end = record_inquiry(payment, inquiry(payment, "approved", Succeed(), reference="r-3"), at=AT)

    assert isinstance(end, PaymentSucceeded)
    assert (end.ended_by, end.reference, end.series) == ("inquiry", "r-3", 1)


def test_an_inquirys_answer_that_does_not_fit_is_named() -> None:
    """The refusal names the follow-up and the answer."""
    payment = fold(HISTORIES["unknown"])

    with pytest.raises(OutcomeImpossible) as refused:
        record_inquiry(payment, inquiry(payment, "no_clear_answer", Fail()), at=AT)

    assert refused.value.why == "Fail does not follow from no_clear_answer"
