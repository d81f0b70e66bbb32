"""Late inquiries: the gateway is asked again about a payment that failed without its clear word."""

from datetime import timedelta
from typing import Any

import pytest

from ledger.domain.commands import Fail, InquireAfter, RetryAfter, Succeed
from ledger.domain.events import (
    GatewayAttempted,
    InquiryName,
    PaymentContradicted,
    PaymentFailed,
    PaymentInquired,
    Resolution,
)
from tests.support.ledgers.paper import (
    BEGINNING,
    inquiry,
    outcome,
    resolve,
)
from tests.support.ledgers.requeued import (
    DAY,
    FIRST,
    HOUR,
    NOT_KNOWN,
    entry,
    in_doubt,
    late,
    not_found,
    requested,
)


def test_a_failure_because_the_gateway_did_not_know_the_payment_is_asked_about_again() -> None:
    """It stands in the event and in the queue, beside the failed payment, whose money is free."""
    ledger = not_found()

    asked, failed = entry(ledger), ledger.store.events("payment-1")[-1].data
    assert asked is not None
    assert isinstance(failed, PaymentFailed)
    due_at = BEGINNING + timedelta(seconds=HOUR)
    assert (asked.action, asked.gateway_key, asked.due_at, asked.inquiries) == ("inquire_late", FIRST, due_at, 0)
    assert failed.inquire_at == due_at
    assert (ledger.payment().letter, ledger.account().held_minor) == ("failed", 0)


def test_a_decline_is_not_asked_about_again() -> None:
    """The gateway has said clearly that it did not move the money."""
    ledger = requested()
    ledger.told(1, "unknown", InquireAfter(5.0))

    ledger.inquired(1, "declined", Fail("declined"))

    assert entry(ledger) is None


@pytest.mark.parametrize("said", [None, "no_clear_answer", "not_found"])
def test_a_payment_that_an_operator_closes_as_failed_is_asked_about_again(said: InquiryName | None) -> None:
    """The gateway may not know of it yet, and money that moves then becomes a letter."""
    ledger = in_doubt()

    ledger.one(resolve(1, "failed", gateway_answer=said, inquire_after_seconds=HOUR))
    asked = entry(ledger)
    ledger.one(late(ledger.payment(), "approved", Succeed()))

    assert asked is not None
    assert (asked.action, asked.due_at) == ("inquire_late", BEGINNING + timedelta(seconds=HOUR))
    assert (ledger.payment().letter, entry(ledger)) == ("contradicted", None)


@pytest.mark.parametrize(
    ("outcome", "facts"),
    [
        ("failed", {"gateway_answer": "declined", "inquire_after_seconds": HOUR}),
        ("failed", {"gateway_answer": "approved", "force": True, "inquire_after_seconds": HOUR}),
        ("failed", {"gateway_answer": "not_found"}),
        ("success", {"gateway_answer": "approved", "inquire_after_seconds": HOUR}),
    ],
)
def test_a_payment_about_which_all_is_said_is_not_asked_about_again(outcome: Resolution, facts: dict[str, Any]) -> None:
    """Neither is one whose gateway cannot be asked."""
    ledger = in_doubt()

    ledger.one(resolve(1, outcome, **facts))

    assert entry(ledger) is None


def test_money_that_moves_late_becomes_a_letter() -> None:
    """The late inquiry tells of it, and none follows."""
    ledger = not_found()

    ledger.one(late(ledger.payment(), "approved", Succeed()))

    inquired, contradicted = [each.data for each in ledger.store.events("payment-1")[-2:]]
    assert isinstance(inquired, PaymentInquired)
    assert (inquired.late, inquired.answer, inquired.inquire_at) == (True, "approved", None)
    assert isinstance(contradicted, PaymentContradicted)
    assert (ledger.payment().letter, entry(ledger)) == ("contradicted", None)


def test_each_clear_answer_leads_to_the_next_late_inquiry_until_the_last() -> None:
    """An hour after the failure, then a day after it; each answer is an event."""
    ledger = not_found()

    ledger.one(late(ledger.payment(), "not_found", InquireAfter(DAY - HOUR)))
    second = entry(ledger)
    ledger.one(late(ledger.payment(), "not_found", Fail(), number=2))

    assert second is not None
    assert (second.action, second.inquiries) == ("inquire_late", 1)
    assert second.due_at == BEGINNING + timedelta(seconds=DAY - HOUR)
    assert (entry(ledger), ledger.payment().late_inquiries) == (None, None)
    assert ledger.payment().letter == "failed"


def test_a_late_inquiry_without_a_clear_answer_is_repeated_and_no_event() -> None:
    """It may be repeated for long, and changes nothing that an event has to tell."""
    ledger = not_found()
    before = ledger.payment()

    ledger.one(late(before, "no_clear_answer", InquireAfter(HOUR)))

    again = entry(ledger)
    assert again is not None
    assert (again.action, again.inquiries, again.due_at) == ("inquire_late", 0, BEGINNING + timedelta(seconds=HOUR))
    assert ledger.payment() == before


def test_a_late_answer_counts_once() -> None:
    """Two workers may have asked; the second answer does not skip the next inquiry."""
    ledger = not_found()
    ledger.one(late(ledger.payment(), "not_found", InquireAfter(DAY)))
    before, queued = ledger.payment(), entry(ledger)

    ledger.one(late(before, "not_found", InquireAfter(DAY)))

    assert (ledger.payment(), entry(ledger)) == (before, queued)


def test_a_report_about_a_call_does_not_take_the_late_inquiry_away() -> None:
    """An answer that comes after the failure leaves the queue as it is."""
    ledger = not_found()
    queued = entry(ledger)

    ledger.one(outcome(ledger.payment(), "declined", Fail(), attempt=1))
    ledger.one(inquiry(ledger.payment(), "not_found", NOT_KNOWN))

    assert entry(ledger) == queued


@pytest.mark.parametrize(("resolution", "stays"), [("failed", True), ("success", False)])
def test_closing_a_letter_keeps_the_late_inquiry_of_a_failed_payment(resolution: Any, stays: bool) -> None:  # noqa: FBT001
    """The operator may be wrong about a failure; money that was booked needs no inquiry."""
    ledger = not_found()
    if resolution == "success":
        ledger.one(outcome(ledger.payment(), "approved", Succeed(), attempt=1))

    ledger.resolved(1, resolution)

    assert (entry(ledger) is not None) == stays


def test_a_requeue_takes_the_place_of_the_late_inquiry() -> None:
    """The old key is asked at once, before the first call."""
    ledger = not_found()
    ledger.one(late(ledger.payment(), "not_found", InquireAfter(DAY)))

    ledger.requeued(1)

    asked = entry(ledger)
    assert asked is not None
    assert (asked.action, asked.inquiries, ledger.payment().late_inquiries) == ("inquire_first", 0, None)


def test_the_first_attempt_of_a_kept_key_is_counted_in_its_own_series() -> None:
    """Series and attempt name a call, under whatever key."""
    ledger = not_found()
    ledger.requeued(1)
    ledger.inquired(1, "not_found", RetryAfter(0.0))

    ledger.told(1, "approved", Succeed())

    calls = [each.data for each in ledger.store.events("payment-1") if isinstance(each.data, GatewayAttempted)]
    assert [(call.series, call.attempt, call.gateway_key) for call in calls] == [(1, 1, FIRST), (2, 1, FIRST)]
