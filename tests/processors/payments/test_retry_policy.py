"""Delays before retries and inquiries, and the circuit breaker: tables of the rules, and properties for all numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.gateways.outcomes import Approved, Declined, GatewayAnswer, NotAccepted, Outcome, Unknown
from processors.payments.breaker import PAYMENTS_MAX, Breaker, BreakerPolicy, Refusals
from processors.payments.retry_policy import INQUIRY_INTERVAL_SECONDS_MAX, RetryPolicy

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
def test_delays_double_up_to_the_cap_and_follow_retry_after(
    attempt: int, retry_after_seconds: float | None, jitter: float, delay_seconds: float
) -> None:
    """After attempt n: min(cap, base * 2^(n-1)) + jitter, or a longer Retry-After up to the cap."""
    assert delay_seconds == ORIGINAL.delay_seconds(attempt, retry_after_seconds=retry_after_seconds, jitter=jitter)


@pytest.mark.parametrize(
    ("inquiry", "delay_seconds"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (10, 2560.0), (11, 3600.0), (10**100, 3600.0)],
)
def test_inquiries_come_ever_more_seldom_up_to_an_hour(inquiry: int, delay_seconds: float) -> None:
    """The first inquiry comes after the settle time. Later intervals grow to an hour at most."""
    assert delay_seconds == ORIGINAL.inquiry_delay_seconds(inquiry, jitter=0.0)


@pytest.mark.parametrize(("inquiry", "delay_seconds"), [(1, 7.5), (2, 15.0), (11, 5400.0)])
def test_jitter_spreads_inquiries_over_half_of_their_interval(inquiry: int, delay_seconds: float) -> None:
    """Payments that were in doubt by one outage are not asked about at the same time, however long it is ago."""
    assert delay_seconds == ORIGINAL.inquiry_delay_seconds(inquiry, jitter=1.0)


@pytest.mark.parametrize("inquiries", range(14))
def test_no_wait_is_longer_than_the_longest(inquiries: int) -> None:
    """By these bounds a worker finds an entry that waits by a clock that was set since."""
    first, longest = ORIGINAL.inquiry_wait_seconds_max

    assert ORIGINAL.inquiry_delay_seconds(inquiries + 1, jitter=1.0) <= min(longest, first * 2**inquiries)
    assert ORIGINAL.delay_seconds(inquiries + 1, retry_after_seconds=1e9, jitter=1.0) <= ORIGINAL.retry_wait_seconds_max


def test_inquiries_do_not_loop_without_a_settle_time() -> None:
    """Without a settle time the first inquiry comes at once, and the later intervals still grow."""
    policy = RetryPolicy(settle_seconds=0.0, base_seconds=0.0)

    assert [policy.inquiry_delay_seconds(n, jitter=0.0) for n in (1, 2, 3)] == [0.0, 2.0, 4.0]


def test_a_long_settle_time_is_waited_for() -> None:
    """A gateway that settles in a day is not asked earlier, whatever the cap is."""
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
    """A wrong setting is reported when the policy is created."""
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
    """A delay is never negative, infinite, or shorter than that of the attempt before."""
    delay = policy.delay_seconds(attempt, retry_after_seconds=wish, jitter=jitter)

    assert 0 <= delay <= policy.cap_seconds + policy.jitter_seconds
    assert delay <= policy.delay_seconds(attempt + 1, retry_after_seconds=wish, jitter=jitter)
    assert delay >= policy.delay_seconds(attempt, jitter=jitter)


@given(policy=POLICIES, inquiry=st.integers(1, 10**30), jitter=SHARES)
def test_no_inquiry_comes_before_the_gateway_has_settled(policy: RetryPolicy, inquiry: int, jitter: float) -> None:
    """Each interval is at least as long as the one before."""
    delay = policy.inquiry_delay_seconds(inquiry, jitter=jitter)

    assert policy.settle_seconds <= delay < math.inf
    assert delay <= policy.inquiry_delay_seconds(inquiry + 1, jitter=jitter)


def test_the_longest_waits_for_late_inquiries_are_those_between_their_times() -> None:
    """After the last of them, one without a clear answer is repeated within the longest interval."""
    policy = RetryPolicy(late_seconds=(60.0, 3_660.0), jitter_seconds=0.5)

    assert policy.late_wait_seconds_max == (60.5, 3_600.5, INQUIRY_INTERVAL_SECONDS_MAX)


# --- the circuit breaker ---------------------------------------------------------------------------------------------

POLICY = BreakerPolicy(failures=3, patience_seconds=60.0)


def answered(outcome: Outcome, http_status: int | None) -> GatewayAnswer:
    return GatewayAnswer(outcome=outcome, http_status=http_status, answer_digest=None, elapsed_ms=1)


REFUSED = answered(NotAccepted("connection_refused"), None)
BUSY = answered(NotAccepted("gateway_error_429"), 429)
TIMED_OUT = answered(Unknown("timeout"), None)
BROKEN = answered(Unknown("gateway_error_502"), 502)
CONFLICT = answered(Unknown("gateway_error_409"), 409)
OK = answered(Approved(), 200)
DECLINED = answered(Declined("declined"), 200)


@pytest.mark.parametrize("answer", [REFUSED, TIMED_OUT, BROKEN])
def test_it_is_tripped_by_calls_in_a_row_without_an_answer(answer: GatewayAnswer) -> None:
    """One that could not be made counts like one that was lost, or one that the gateway could not work off."""
    breaker = Breaker(POLICY)
    seen = []
    for _ in range(3):
        breaker.saw(answer, now=0.0)
        seen.append(breaker.is_tripped)

    assert seen == [False, False, True]


@pytest.mark.parametrize("answer", [OK, DECLINED, BUSY, CONFLICT])
def test_any_other_answer_begins_the_count_again(answer: GatewayAnswer) -> None:
    """A gateway that refuses or is busy is there."""
    breaker = Breaker(POLICY)
    for each in (BROKEN, BROKEN, answer, BROKEN, BROKEN):
        breaker.saw(each, now=0.0)

    assert not breaker.is_tripped


def test_without_a_limit_it_is_never_tripped() -> None:
    """As in the original."""
    breaker = Breaker(BreakerPolicy())
    for _ in range(100):
        breaker.saw(BROKEN, now=0.0)

    assert not breaker.is_tripped


@pytest.mark.parametrize(
    ("answer", "away_seconds", "free"),
    [
        (REFUSED, 0.0, True),
        (REFUSED, 59.0, True),
        (REFUSED, 60.0, False),
        (BUSY, 1_000.0, True),
        (TIMED_OUT, 0.0, False),
        (BROKEN, 0.0, False),
        (OK, 0.0, False),
        (DECLINED, 0.0, False),
    ],
)
def test_only_a_call_that_was_not_accepted_uses_up_no_attempt(
    answer: GatewayAnswer,
    away_seconds: float,
    free: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """That is so for the patience, counted from the first call of the outage; a busy gateway is not away."""
    breaker = Breaker(POLICY)
    breaker.saw(TIMED_OUT, now=100.0)
    breaker.saw(answer, now=100.0 + away_seconds)

    assert breaker.uses_up_no_attempt(answer, now=100.0 + away_seconds) == free


def test_without_patience_each_call_uses_up_an_attempt() -> None:
    """As in the original."""
    breaker = Breaker(BreakerPolicy())
    for answer in (REFUSED, BUSY):
        breaker.saw(answer, now=0.0)
        assert not breaker.uses_up_no_attempt(answer, now=0.0)


@pytest.mark.parametrize(
    "wrong", [{"failures": -1}, {"probe_seconds": 0.0}, {"patience_seconds": -1.0}, {"probe_seconds": float("inf")}]
)
def test_a_setting_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    """It would make a worker spin, or wait for ever."""
    with pytest.raises(ValueError, match="must be"):
        BreakerPolicy(**wrong)  # type: ignore[arg-type]


# --- 429 -------------------------------------------------------------------------------------------------------------

PATIENCE_SECONDS = 60.0
REFUSED_PAYMENT, OTHER, ANOTHER = 1, 2, 3


@pytest.mark.parametrize(
    ("answered", "others_refused", "seconds", "uses_up_attempt"),
    [
        (0, 0, 1.0, False),
        (1, 0, 1.0, True),
        (0, 5, 1.0, False),
        (5, 5, 1.0, False),
        (6, 5, 1.0, True),
        (0, 0, 59.0, False),
        (0, 0, 60.0, True),
        (0, 5, 60.0, True),
    ],
)
def test_a_429_is_about_the_payment_if_more_others_are_answered_than_refused(
    answered: int,
    others_refused: int,
    seconds: float,
    uses_up_attempt: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """The others are those since its last 429. After the patience, counted from its first one, it counts too."""
    refusals = Refusals(PATIENCE_SECONDS)
    first = refusals.refused(REFUSED_PAYMENT, 1, now=100.0)
    for _ in range(answered):
        refusals.answered(OTHER, 1)
    for _ in range(others_refused):
        refusals.refused(ANOTHER, 1, now=100.0)

    assert first == (1, False)
    assert refusals.refused(REFUSED_PAYMENT, 1, now=100.0 + seconds) == (2, uses_up_attempt)


def test_only_answers_since_the_last_429_count() -> None:
    """An answer that was given before it says nothing."""
    refusals = Refusals(PATIENCE_SECONDS)
    for _ in range(5):
        refusals.answered(OTHER, 1)
    seen = [refusals.refused(REFUSED_PAYMENT, 1, now=0.0) for _ in range(2)]
    refusals.answered(OTHER, 1)
    seen += [refusals.refused(REFUSED_PAYMENT, 1, now=0.0) for _ in range(2)]

    assert seen == [(1, False), (2, False), (3, True), (4, False)]


def test_an_answer_and_a_new_series_begin_the_count_again() -> None:
    """A payment that is sent again a day after it failed is not one that the gateway has refused for a day."""
    refusals = Refusals(PATIENCE_SECONDS)
    refusals.refused(REFUSED_PAYMENT, 1, now=0.0)

    assert refusals.refused(REFUSED_PAYMENT, 2, now=86_400.0) == (1, False)
    refusals.answered(REFUSED_PAYMENT, 1)
    assert refusals.refused(REFUSED_PAYMENT, 1, now=86_400.0) == (1, False)


def test_the_oldest_of_many_refused_payments_is_forgotten() -> None:
    """A worker's memory is bounded."""
    refusals = Refusals(PATIENCE_SECONDS)
    for payment_id in range(PAYMENTS_MAX + 1):
        refusals.refused(payment_id, 1, now=0.0)

    assert refusals.refused(PAYMENTS_MAX, 1, now=0.0) == (2, False)
    assert refusals.refused(0, 1, now=0.0) == (1, False)
