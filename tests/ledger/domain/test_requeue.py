"""A payment that goes to the gateway again: its gateway key, and the inquiry before its calls."""

from typing import Any

import pytest

from ledger.domain.commands import Fail, FollowUp, InquireAfter, RetryAfter, Succeed
from ledger.domain.events import (
    InquiryName,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.errors import CurrencyNotSupported, OutcomeImpossible
from tests.support.ledgers.paper import (
    PaperWriter,
    deposit,
    inquiry,
    outcome,
    requeue,
)
from tests.support.ledgers.requeued import FIRST, NOT_KNOWN, SECOND, declined, entry, not_found, requested

# --- the key of a new series -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failing", "expected_key", "in_doubt"),
    [
        ([("declined", Fail("declined"))], SECOND, False),
        ([("turned_away", RetryAfter(1.0)), ("declined", Fail("gateway_error_402"))], SECOND, False),
        ([("turned_away", Fail("gateway_error_429"))], FIRST, False),
        ([("unknown", Fail("timeout", unasked=True))], FIRST, True),
        ([("unknown", InquireAfter(5.0)), ("not_found", NOT_KNOWN)], FIRST, True),
        ([("unknown", InquireAfter(5.0)), ("declined", Fail("declined"))], SECOND, False),
        ([("unknown", RetryAfter(1.0)), ("declined", InquireAfter(5.0)), ("not_found", NOT_KNOWN)], FIRST, True),
        (
            [("unknown", RetryAfter(1.0)), ("declined", InquireAfter(5.0)), ("declined", Fail("declined"))],
            SECOND,
            False,
        ),
    ],
)
def test_only_a_decline_gives_a_new_series_a_new_gateway_key(
    failing: list[tuple[Any, FollowUp]],
    expected_key: str,
    in_doubt: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Where a call under the old key may still be carried out, the old key stays, with its doubt."""
    ledger = requested()
    for told, then in failing:
        if ledger.store.queue[1].action == "inquire":
            ledger.inquired(1, told, then)
        else:
            ledger.told(1, told, then)

    ledger.requeued(1)
    ledger.inquired(1, "not_found", RetryAfter(0.0))

    called = entry(ledger)
    assert called is not None
    assert (called.action, called.gateway_key, called.unknown) == ("pay", expected_key, in_doubt)
    assert (ledger.payment().gateway_key, ledger.payment().unknown) == (expected_key, in_doubt)


def test_a_decline_under_a_key_in_doubt_is_not_believed_in_the_next_series() -> None:
    """A gateway that refuses a repeated key has perhaps carried out the first call."""
    ledger = not_found()
    ledger.requeued(1)
    ledger.inquired(1, "not_found", RetryAfter(0.0))
    payment = ledger.payment()

    with pytest.raises(OutcomeImpossible, match="was not asked"):
        ledger.one(outcome(payment, "declined", Fail("gateway_error_422")))
    ledger.told(1, "declined", InquireAfter(5.0), error="gateway_error_422")
    ledger.inquired(1, "approved", Succeed())

    assert (payment.series, payment.attempt) == (2, 0)
    assert ledger.payment().state == "succeeded"
    assert ledger.payment().contradicted == ()


def test_a_store_that_has_forgotten_a_requeue_gives_its_key_again() -> None:
    """The gateway may have moved the money under that key, and knows it; another one would move it twice."""
    kept, restored = declined(), declined()
    kept.requeued(1)
    restored.salt = "0123456789abcdef"
    restored.requeued(1)

    keys = [ledger.payment().next_gateway_key for ledger in (kept, restored)]

    assert keys == [SECOND, SECOND]


def test_a_first_gateway_key_has_the_salt_of_its_batch() -> None:
    """It stands in the payment's first event."""
    ledger = PaperWriter()
    ledger.opened()
    ledger.salt = "0123456789abcdef"
    ledger.requested(deposit())

    assert ledger.payment().gateway_key == "payment-1_0123456789abcdef"


# --- the inquiry before a new series ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "next_key"), [(declined, SECOND), (not_found, FIRST)])
def test_a_new_series_begins_with_an_inquiry_about_the_old_key(before: Any, next_key: str) -> None:
    """The gateway is called only once it says that no money moved under the key before."""
    ledger = before()

    ledger.requeued(1)

    first = entry(ledger)
    assert first is not None
    assert (first.action, first.gateway_key, first.attempt, first.series) == ("inquire_first", FIRST, 0, 2)
    (requeued,) = [each.data for each in ledger.store.events("payment-1") if isinstance(each.data, PaymentRequeued)]
    assert (requeued.gateway_key, requeued.asks_first) == (next_key, True)
    with pytest.raises(OutcomeImpossible):
        ledger.one(outcome(ledger.payment(), "approved", Succeed()))


def test_money_that_moved_under_the_old_key_settles_the_payment_before_it_is_called_again() -> None:
    """There is one payout, one success and no letter."""
    ledger = declined()
    ledger.requeued(1)

    ledger.inquired(1, "approved", Succeed(), reference="r-1")

    payment, end = ledger.payment(), ledger.store.events("payment-1")[-1].data
    assert (payment.state, payment.gateway_key, payment.letter, entry(ledger)) == ("succeeded", FIRST, None, None)
    assert isinstance(end, PaymentSucceeded)
    assert (end.ended_by, end.series) == ("inquiry", 2)
    assert ledger.account().posted_minor == 100_000 - 20_400
    ledger.one(outcome(payment, "approved", Succeed(), series=1, attempt=1, gateway_key=FIRST))
    assert ledger.payment().contradicted == ()


def test_without_a_clear_answer_about_the_old_key_the_payment_is_in_doubt_and_asked_again() -> None:
    """An operator sees it, and may resolve it; a later clear answer lets the series call."""
    ledger = not_found()
    ledger.requeued(1)

    ledger.inquired(1, "no_clear_answer", InquireAfter(5.0), error="gateway_error_500")
    parked, asked = ledger.payment(), entry(ledger)
    ledger.inquired(1, "not_found", RetryAfter(0.0), inquiry=2)

    assert asked is not None
    assert (parked.state, parked.letter, asked.action, asked.inquiries) == ("in_doubt", "in_doubt", "inquire_first", 1)
    called = entry(ledger)
    assert called is not None
    assert (called.action, called.inquiries, called.due_at) == ("pay", 0, ledger.store.head.at)
    assert (ledger.payment().state, ledger.payment().letter) == ("processing", None)


@pytest.mark.parametrize("answer", ["declined", "not_found"])
def test_an_answer_about_the_old_key_does_not_fail_the_new_series(answer: InquiryName) -> None:
    """The series has not begun to call."""
    ledger = not_found()
    ledger.requeued(1)

    with pytest.raises(OutcomeImpossible):
        ledger.one(inquiry(ledger.payment(), answer, Fail()))


@pytest.mark.parametrize(
    ("answer", "then", "contradicted"),
    [
        ("no_clear_answer", InquireAfter(5.0), ()),
        ("declined", RetryAfter(0.0), ()),
        ("not_found", RetryAfter(0.0), ()),
        ("approved", Succeed(), (FIRST,)),
    ],
)
def test_an_answer_about_the_old_key_that_comes_after_a_call_is_late(
    answer: InquiryName, then: FollowUp, contradicted: tuple[str, ...]
) -> None:
    """Two workers may have asked, one after the other's lease. Nothing is in doubt by it, and nothing ends."""
    ledger = declined()
    ledger.requeued(1)
    asked = ledger.payment()
    ledger.inquired(1, "declined", RetryAfter(0.0))
    ledger.told(1, "unknown", RetryAfter(1.0), error="timeout")
    before = ledger.payment()

    ledger.one(inquiry(asked, answer, then, seen_version=before.version))

    after = ledger.payment()
    assert (after.state, after.unknown, after.contradicted) == ("processing", True, contradicted)
    assert (after.version == before.version) is (contradicted == ())


def test_a_payment_in_a_currency_that_the_gateway_does_not_move_is_not_queued_again() -> None:
    """The gateway may have been changed since the request."""
    ledger = declined()

    (refused,) = ledger.write(requeue(1, currencies=frozenset({"EUR"})))
    ledger.one(requeue(1, currencies=frozenset({"EUR", "USD"})))

    assert isinstance(refused, CurrencyNotSupported)
    assert ledger.payment().state == "processing"


def test_a_gateway_that_cannot_be_asked_is_called_at_once() -> None:
    """The operator's command says so, and the key follows the same rule."""
    ledger = requested()
    ledger.told(1, "unknown", Fail("timeout", unasked=True))

    ledger.requeued(1, ask_first=False)

    called = entry(ledger)
    assert called is not None
    assert (called.action, called.gateway_key, called.unknown) == ("pay", FIRST, True)
