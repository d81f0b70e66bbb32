"""The next step after each outcome: before and at the last attempt, with and without doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.commands import Fail, FollowUp, InquireAfter, RetryAfter, Succeed
from processors.gateways.outcomes import (
    Approved,
    Declined,
    InquiryOutcome,
    NoClearAnswer,
    NotAccepted,
    NotFound,
    Outcome,
    Unknown,
)
from processors.payments.process import (
    PaymentSeen,
    follow_first_inquiry,
    follow_inquiry,
    follow_late_inquiry,
    follow_up,
)
from processors.payments.retry_policy import RetryPolicy

ASKING = RetryPolicy(attempts_max=3, base_seconds=1.0, cap_seconds=30.0, jitter_seconds=0.5, settle_seconds=5.0)
NOT_ASKING = RetryPolicy(
    attempts_max=3, base_seconds=1.0, cap_seconds=30.0, jitter_seconds=0.5, settle_seconds=5.0, inquiry=False
)

OK, NO = Approved("r-1"), Declined("gateway_error_400")
AWAY, LOST = NotAccepted("gateway_error_429"), Unknown("timeout")


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
        # beyond the last attempt: attempts_max was lowered while the payment was open
        (4, False, AWAY, Fail("gateway_error_429")),
        (4, True, AWAY, InquireAfter(5.0)),
        (4, False, LOST, InquireAfter(5.0)),
    ],
)
def test_the_next_step_after_a_call(attempt: int, unknown_before: bool, outcome: Outcome, expected: FollowUp) -> None:  # noqa: FBT001 - a column of the table
    """A payment succeeds, fails, is retried or is inquired about. A payment in doubt never fails without an inquiry."""
    seen = PaymentSeen(series=1, attempt=attempt, unknown_before=unknown_before)

    assert expected == follow_up(seen, outcome, policy=ASKING, jitter=0.0)


@pytest.mark.parametrize(
    ("attempt", "outcome", "expected"),
    [
        (1, OK, Succeed()),
        (1, NO, InquireAfter(5.0)),
        (1, AWAY, RetryAfter(1.0)),
        (3, AWAY, InquireAfter(5.0)),
        (3, LOST, InquireAfter(5.0)),
    ],
)
def test_a_later_series_is_in_doubt_from_its_first_call(attempt: int, outcome: Outcome, expected: FollowUp) -> None:
    """A restored store has perhaps forgotten that it called under this key, and the gateway refuses a repetition."""
    seen = PaymentSeen(series=2, attempt=attempt, unknown_before=False)

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
    """With inquiries turned off the payment fails, and the failure says that nobody asked."""
    seen = PaymentSeen(series=1, attempt=attempt, unknown_before=unknown_before)

    assert expected == follow_up(seen, outcome, policy=NOT_ASKING, jitter=0.0)


@pytest.mark.parametrize("outcome", [NotAccepted("gateway_error_429", 7.0), Unknown("gateway_error_503", 7.0)])
def test_retry_after_is_followed(outcome: Outcome) -> None:
    """A longer Retry-After replaces our own delay, and jitter is added."""
    seen = PaymentSeen(series=1, attempt=1, unknown_before=False)

    assert follow_up(seen, outcome, policy=ASKING, jitter=1.0) == RetryAfter(7.5)


@pytest.mark.parametrize(
    ("inquiry", "outcome", "expected"),
    [
        (1, OK, Succeed()),
        (9, OK, Succeed()),
        (1, Declined("declined"), Fail("declined")),
        (1, NotFound(), Fail(inquire_after_seconds=3600.0)),
        (1, NoClearAnswer("pending"), InquireAfter(10.0)),
        (2, NoClearAnswer("timeout"), InquireAfter(20.0)),
        (50, NoClearAnswer("gateway_error_404"), InquireAfter(3600.0)),
    ],
)
def test_the_next_step_after_an_inquiry(inquiry: int, outcome: InquiryOutcome, expected: FollowUp) -> None:
    """A payment that the gateway never saw fails with its last error. After no clear answer it is asked about again."""
    assert expected == follow_inquiry(inquiry, outcome, policy=ASKING, jitter=0.0)


@pytest.mark.parametrize(
    ("outcome", "expected", "unasked"),
    [
        (OK, Succeed(), Succeed()),
        (Declined("declined"), RetryAfter(0.0), RetryAfter(0.0)),
        (NotFound(), RetryAfter(0.0), RetryAfter(0.0)),
        (NoClearAnswer("pending"), InquireAfter(10.0), RetryAfter(0.0)),
    ],
)
def test_the_next_step_after_the_inquiry_before_a_new_series(
    outcome: InquiryOutcome, expected: FollowUp, unasked: FollowUp
) -> None:
    """The series calls when no money moved under the old key, and where the gateway cannot be asked."""
    assert expected == follow_first_inquiry(1, outcome, policy=ASKING, jitter=0.0)
    assert unasked == follow_first_inquiry(1, outcome, policy=NOT_ASKING, jitter=0.0)


@pytest.mark.parametrize(
    ("inquiry", "outcome", "expected"),
    [
        (1, OK, Succeed()),
        (1, Declined("declined"), Fail()),
        (1, NotFound(), InquireAfter(82_800.0)),
        (2, NotFound(), Fail()),
        (1, NoClearAnswer("pending"), InquireAfter(3600.0)),
        (2, NoClearAnswer("pending"), InquireAfter(82_800.0)),
        (3, NoClearAnswer("pending"), InquireAfter(3600.0)),  # late_seconds was shortened
    ],
)
def test_the_next_step_after_a_late_inquiry(inquiry: int, outcome: InquiryOutcome, expected: FollowUp) -> None:
    """An hour and a day after the failure; without a clear answer the same inquiry is repeated, and never given up."""
    assert expected == follow_late_inquiry(inquiry, outcome, policy=ASKING, jitter=0.0)


def test_late_inquiries_can_be_switched_off() -> None:
    """Then a payment that the gateway does not know just fails."""
    policy = RetryPolicy(late_seconds=())

    assert follow_inquiry(1, NotFound(), policy=policy, jitter=0.0) == Fail()


def test_inquiries_are_spread_too() -> None:
    """After an outage of the gateway, inquiries must not all come at the same moment."""
    seen = PaymentSeen(series=1, attempt=3, unknown_before=True)

    assert follow_up(seen, LOST, policy=ASKING, jitter=1.0) == InquireAfter(7.5)
    assert follow_inquiry(1, NoClearAnswer("pending"), policy=ASKING, jitter=1.0) == InquireAfter(15.0)


ERRORS = st.text(min_size=1, max_size=10)
WAITS = st.none() | st.floats(0, 1e6)
OUTCOMES = st.one_of(
    st.builds(Approved),
    st.builds(Declined, ERRORS),
    st.builds(NotAccepted, ERRORS, WAITS),
    st.builds(Unknown, ERRORS, WAITS),
)


@given(outcomes=st.lists(OUTCOMES, min_size=1, max_size=8), attempts_max=st.integers(1, 5), inquiry=st.booleans())
def test_a_series_ends_within_its_attempts_and_fails_only_if_no_money_moved(
    outcomes: list[Outcome],
    attempts_max: int,
    inquiry: bool,  # noqa: FBT001 - drawn by name
) -> None:
    """Calls stop at the limit, and a payment in doubt is inquired about if the policy allows it."""
    policy = RetryPolicy(attempts_max=attempts_max, inquiry=inquiry)
    unknown = False

    for attempt, outcome in enumerate(outcomes, start=1):
        then = follow_up(
            PaymentSeen(series=1, attempt=attempt, unknown_before=unknown), outcome, policy=policy, jitter=0.5
        )
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
