"""How long to wait: tables of the rule, and what holds for every number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.retry_policy import RetryPolicy

ORIGINAL = RetryPolicy()


@pytest.mark.parametrize(
    ("attempt", "retry_after_seconds", "jitter", "delay_seconds"),
    [
        (1, None, 0.0, 1.0),
        (2, None, 0.0, 2.0),
        (3, None, 0.0, 4.0),
        (5, None, 0.0, 16.0),
        (6, None, 0.0, 30.0),
        (1, None, 0.5, 1.25),
        (1, None, 1.0, 1.5),
        (6, None, 1.0, 30.5),
        (10_000, None, 0.0, 30.0),
        (10**100, None, 0.0, 30.0),
        (1, 0.0, 0.0, 1.0),
        (1, 0.5, 0.0, 1.0),
        (1, 7.0, 0.0, 7.0),
        (1, 7.0, 1.0, 7.5),
        (5, 7.0, 0.0, 16.0),
        (1, 3600.0, 0.0, 30.0),
        (1, math.inf, 0.0, 30.0),
    ],
)
def test_delays_double_up_to_the_cap_and_heed_the_gateways_wish(
    attempt: int, retry_after_seconds: float | None, jitter: float, delay_seconds: float
) -> None:
    """After attempt n: min(cap, base * 2^(n-1)) + jitter, or a longer Retry-After up to the cap."""
    assert delay_seconds == ORIGINAL.delay_seconds(attempt, retry_after_seconds=retry_after_seconds, jitter=jitter)


@pytest.mark.parametrize(
    ("inquiry", "delay_seconds"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (10, 2560.0), (11, 3600.0), (10**100, 3600.0)],
)
def test_inquiries_come_ever_more_seldom_up_to_an_hour(inquiry: int, delay_seconds: float) -> None:
    """The first comes once the gateway has settled, and nobody is asked less often than every hour."""
    assert delay_seconds == ORIGINAL.inquiry_delay_seconds(inquiry, jitter=0.0)


def test_inquiries_do_not_spin_where_nothing_needs_to_settle() -> None:
    """With no time to settle the first comes at once, and the others at growing intervals all the same."""
    policy = RetryPolicy(settle_seconds=0.0, base_seconds=0.0)

    assert [policy.inquiry_delay_seconds(n, jitter=0.0) for n in (1, 2, 3)] == [0.0, 2.0, 4.0]


def test_a_long_time_to_settle_is_waited_for() -> None:
    """A gateway that settles in a day is not asked before, cap or no cap."""
    policy = RetryPolicy(settle_seconds=86_400.0)

    assert [policy.inquiry_delay_seconds(n, jitter=0.0) for n in (1, 2)] == [86_400.0, 86_400.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts_max": 0},
        {"base_seconds": -1.0},
        {"cap_seconds": math.inf},
        {"jitter_seconds": math.nan},
        {"settle_seconds": -0.1},
    ],
)
def test_a_policy_that_no_payment_could_follow_is_refused(wrong: dict[str, float]) -> None:
    """A wrong setting is named when the policy is made."""
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


SECONDS = st.floats(min_value=0, max_value=1e300)
POLICIES = st.builds(
    RetryPolicy,
    base_seconds=SECONDS,
    cap_seconds=SECONDS,
    jitter_seconds=st.floats(0, 1e6),
    settle_seconds=SECONDS,
)
SHARES = st.floats(0, 1)


@given(policy=POLICIES, attempt=st.integers(1, 10**30), wish=st.none() | SECONDS, jitter=SHARES)
def test_no_delay_is_longer_than_the_cap_and_its_jitter(
    policy: RetryPolicy, attempt: int, wish: float | None, jitter: float
) -> None:
    """Nor is any negative, infinite or shorter than that of the attempt before."""
    delay = policy.delay_seconds(attempt, retry_after_seconds=wish, jitter=jitter)

    assert 0 <= delay <= policy.cap_seconds + policy.jitter_seconds
    assert delay <= policy.delay_seconds(attempt + 1, retry_after_seconds=wish, jitter=jitter)
    assert delay >= policy.delay_seconds(attempt, jitter=jitter)


@given(policy=POLICIES, inquiry=st.integers(1, 10**30), jitter=SHARES)
def test_no_inquiry_comes_before_the_gateway_has_settled(policy: RetryPolicy, inquiry: int, jitter: float) -> None:
    """And each waits at least as long as the one before."""
    delay = policy.inquiry_delay_seconds(inquiry, jitter=jitter)

    assert policy.settle_seconds <= delay < math.inf
    assert delay <= policy.inquiry_delay_seconds(inquiry + 1, jitter=jitter)
