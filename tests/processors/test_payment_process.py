"""What follows from what the gateway said: every answer, before and at the last attempt, with and without doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.commands import Fail, FollowUp, InquireAfter, RetryAfter, Succeed
from processors.outcomes import (
    NOT_FOUND_WORD,
    Approved,
    Declined,
    InquiryOutcome,
    NoClearAnswer,
    Outcome,
    TurnedAway,
    Unknown,
)
from processors.payment_process import PaymentSeen, follow_inquiry, follow_up
from processors.retry_policy import RetryPolicy

ASKING = RetryPolicy(attempts_max=3, base_seconds=1.0, cap_seconds=30.0, jitter_seconds=0.5, settle_seconds=5.0)
NOT_ASKING = RetryPolicy(
    attempts_max=3, base_seconds=1.0, cap_seconds=30.0, jitter_seconds=0.5, settle_seconds=5.0, inquiry=False
)

OK, NO = Approved("r-1"), Declined("gateway_error_400")
AWAY, LOST = TurnedAway("gateway_error_429"), Unknown("timeout")


@pytest.mark.parametrize(
    ("attempt", "unknown_before", "outcome", "expected"),
    [
        (1, False, OK, Succeed()),
        (1, False, NO, Fail("gateway_error_400")),
        (1, False, AWAY, RetryAfter(1.0)),
        (1, False, LOST, RetryAfter(1.0)),
        (2, False, OK, Succeed()),
        (2, False, NO, Fail("gateway_error_400")),
        (2, False, AWAY, RetryAfter(2.0)),
        (2, False, LOST, RetryAfter(2.0)),
        (2, True, OK, Succeed()),
        (2, True, NO, InquireAfter(5.0)),
        (2, True, AWAY, RetryAfter(2.0)),
        (2, True, LOST, RetryAfter(2.0)),
        (3, False, OK, Succeed()),
        (3, False, NO, Fail("gateway_error_400")),
        (3, False, AWAY, Fail("gateway_error_429")),
        (3, False, LOST, InquireAfter(5.0)),
        (3, True, OK, Succeed()),
        (3, True, NO, InquireAfter(5.0)),
        (3, True, AWAY, InquireAfter(5.0)),
        (3, True, LOST, InquireAfter(5.0)),
        # beyond the last: attempts_max was lowered while the payment was under way
        (4, False, AWAY, Fail("gateway_error_429")),
        (4, True, AWAY, InquireAfter(5.0)),
        (4, False, LOST, InquireAfter(5.0)),
    ],
)
def test_what_follows_from_a_call(attempt: int, unknown_before: bool, outcome: Outcome, expected: FollowUp) -> None:  # noqa: FBT001 - a column of the table
    """Settled, failed, called again or asked about; a payment in doubt is never failed without asking."""
    seen = PaymentSeen(attempt=attempt, unknown_before=unknown_before)

    assert expected == follow_up(seen, outcome, policy=ASKING, jitter=0.0)


@pytest.mark.parametrize(
    ("attempt", "unknown_before", "outcome", "expected"),
    [
        (3, False, OK, Succeed()),
        (3, False, NO, Fail("gateway_error_400")),
        (3, False, AWAY, Fail("gateway_error_429")),
        (2, False, LOST, RetryAfter(2.0)),
        (3, False, LOST, Fail("timeout", unasked=True)),
        (3, True, AWAY, Fail("gateway_error_429", unasked=True)),
        (3, True, LOST, Fail("timeout", unasked=True)),
        (2, True, NO, Fail("gateway_error_400", unasked=True)),
    ],
)
def test_a_gateway_that_cannot_be_asked_is_not_asked(
    attempt: int,
    unknown_before: bool,  # noqa: FBT001 - a column of the table
    outcome: Outcome,
    expected: FollowUp,
) -> None:
    """By explicit choice the payment is failed then, and the failure says that nobody asked."""
    seen = PaymentSeen(attempt=attempt, unknown_before=unknown_before)

    assert expected == follow_up(seen, outcome, policy=NOT_ASKING, jitter=0.0)


@pytest.mark.parametrize("outcome", [TurnedAway("gateway_error_429", 7.0), Unknown("gateway_error_503", 7.0)])
def test_the_gateways_wish_to_wait_is_heeded(outcome: Outcome) -> None:
    """A longer Retry-After goes before our own delay, and jitter comes on top."""
    seen = PaymentSeen(attempt=1, unknown_before=False)

    assert follow_up(seen, outcome, policy=ASKING, jitter=1.0) == RetryAfter(7.5)


@pytest.mark.parametrize(
    ("inquiry", "outcome", "expected"),
    [
        (1, OK, Succeed()),
        (9, OK, Succeed()),
        (1, Declined("declined"), Fail("declined")),
        (1, Declined(NOT_FOUND_WORD), Fail(None)),
        (1, NoClearAnswer("pending"), InquireAfter(10.0)),
        (2, NoClearAnswer("timeout"), InquireAfter(20.0)),
        (50, NoClearAnswer("gateway_error_404"), InquireAfter(3600.0)),
    ],
)
def test_what_follows_from_an_inquiry(inquiry: int, outcome: InquiryOutcome, expected: FollowUp) -> None:
    """A payment that the gateway never saw fails for what went wrong before; no clear answer is asked for again."""
    assert expected == follow_inquiry(inquiry, outcome, policy=ASKING, jitter=0.0)


def test_inquiries_are_spread_too() -> None:
    """After an outage of the gateway not all payments in doubt ask in the same moment."""
    seen = PaymentSeen(attempt=3, unknown_before=True)

    assert follow_up(seen, LOST, policy=ASKING, jitter=1.0) == InquireAfter(5.5)
    assert follow_inquiry(1, NoClearAnswer("pending"), policy=ASKING, jitter=1.0) == InquireAfter(10.5)


ERRORS = st.text(min_size=1, max_size=10)
WAITS = st.none() | st.floats(0, 1e6)
OUTCOMES = st.one_of(
    st.builds(Approved),
    st.builds(Declined, ERRORS),
    st.builds(TurnedAway, ERRORS, WAITS),
    st.builds(Unknown, ERRORS, WAITS),
)


@given(outcomes=st.lists(OUTCOMES, min_size=1, max_size=8), attempts_max=st.integers(1, 5), inquiry=st.booleans())
def test_a_series_ends_within_its_attempts_and_fails_only_when_surely_no_money_moved(
    outcomes: list[Outcome],
    attempts_max: int,
    inquiry: bool,  # noqa: FBT001 - drawn by name
) -> None:
    """Whatever a gateway answers: calls stop at the limit, and doubt is asked about where asking is possible."""
    policy = RetryPolicy(attempts_max=attempts_max, inquiry=inquiry)
    unknown = False

    for attempt, outcome in enumerate(outcomes, start=1):
        then = follow_up(PaymentSeen(attempt=attempt, unknown_before=unknown), outcome, policy=policy, jitter=0.5)
        unknown = unknown or isinstance(outcome, Unknown)
        assert isinstance(then, Succeed) is isinstance(outcome, Approved)
        if isinstance(then, RetryAfter):
            assert attempt < attempts_max
            continue
        if isinstance(then, Fail):
            assert then.unasked is unknown
            assert then.reason
            assert not (unknown and inquiry)
        elif isinstance(then, InquireAfter):
            assert unknown
            assert inquiry
            assert then.delay_seconds >= policy.settle_seconds
        break
