"""The decisions of the demo gateway about a call, without the network."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.simulators.demo.scenario import (
    MAGIC_AMOUNTS,
    Decision,
    DemoProfile,
    Luck,
    Reply,
    Step,
    is_of_a_later_series,
    luck_of,
    plan,
)

TELL = Step(Reply.TRUTH)
APPROVE = Step(Reply.TRUTH, Decision.APPROVED)
PROFILE = DemoProfile()


def ordinary(luck: Luck, *, decided: bool = False, profile: DemoProfile = PROFILE) -> Step:
    """Plan a call of an ordinary amount."""
    return plan(amount=Decimal(200), attempt=1, requeued=False, decided=decided, luck=luck, profile=profile)


@pytest.mark.parametrize(
    ("ending", "moving", "step"),
    [
        (0.0, 0.0, Step(Reply.HANG, Decision.APPROVED)),
        (0.09, 0.49, Step(Reply.HANG, Decision.APPROVED)),
        (0.09, 0.5, Step(Reply.HANG)),
        (0.1, 0.0, Step(Reply.SERVER_ERROR)),
        (0.34, 0.0, Step(Reply.SERVER_ERROR)),
        (0.36, 0.0, APPROVE),
        (0.99, 0.99, APPROVE),
    ],
)
def test_ordinary_amounts_depend_on_luck(ending: float, moving: float, step: Step) -> None:
    """A tenth of the calls hangs, and half of those have moved the money. A quarter errs. The rest is approved."""
    assert step == ordinary(Luck(ending, moving))


LUCK = st.builds(Luck, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
RATES = st.floats(0, 1)


@given(luck=LUCK, timeout_rate=RATES, error_rate=RATES)
def test_a_decision_is_answered(luck: Luck, timeout_rate: float, error_rate: float) -> None:
    """Once an ordinary amount is decided, every later call is answered, whatever the luck and the profile."""
    assert ordinary(luck, decided=True, profile=DemoProfile(timeout_rate=timeout_rate, error_rate=error_rate)) == TELL


@given(
    amount=st.sampled_from(sorted(MAGIC_AMOUNTS)) | st.just(Decimal(200)),
    requeued=st.booleans(),
    lucks=st.lists(LUCK, min_size=1, max_size=6),
    timeout_rate=RATES,
    error_rate=RATES,
)
def test_replies_from_the_book_follow_a_decision(
    amount: Decimal, lucks: list[Luck], timeout_rate: float, error_rate: float, *, requeued: bool
) -> None:
    """Replies from the book come with or after a decision, and 429 and 502 come before it."""
    profile = DemoProfile(timeout_rate=timeout_rate, error_rate=error_rate)
    decision: Decision | None = None
    for attempt, luck in enumerate(lucks, 1):
        step = plan(
            amount=amount, attempt=attempt, requeued=requeued, decided=bool(decision), luck=luck, profile=profile
        )
        decision = decision or step.decision

        if step.reply in {Reply.TRUTH, Reply.DRIP, Reply.CUT_OFF}:
            assert decision is not None
        if step.reply is Reply.REFUSED:
            assert decision is Decision.DECLINED
        if step.reply is Reply.TURNED_AWAY or (step.reply is Reply.SERVER_ERROR and amount == 200):
            assert decision is None


@given(seed=st.integers(0, 2**63 - 1), key=st.text(min_size=1), attempt=st.integers(1, 1000))
def test_the_luck_of_a_seed_is_always_the_same(seed: int, key: str, attempt: int) -> None:
    """It depends only on seed, key and attempt, and is at least 0 and below 1."""
    luck = luck_of(seed=seed, gateway_key=key, attempt=attempt)

    assert luck == luck_of(seed=seed, gateway_key=key, attempt=attempt)
    assert 0 <= luck.ending < 1
    assert 0 <= luck.moving < 1


@pytest.mark.parametrize("seed", [None, 0, 42])
def test_luck_is_spread_evenly(seed: int | None) -> None:
    """With and without a seed every tenth has its share, and two attempts are independent."""
    lucks = [luck_of(seed=seed, gateway_key=f"payment-{n}", attempt=1) for n in range(5000)]

    for shares in (Counter(int(luck.ending * 10) for luck in lucks), Counter(int(luck.moving * 10) for luck in lucks)):
        assert all(350 < shares[tenth] < 650 for tenth in range(10))
    assert lucks[0] != luck_of(seed=seed, gateway_key="payment-0", attempt=2)


@pytest.mark.parametrize(
    ("key", "later"),
    [("payment-7", False), ("payment-7-2", True), ("payment-70-2", False), ("payment-70", False), ("mine", False)],
)
def test_a_later_series_is_known_by_its_key(key: str, *, later: bool) -> None:
    """The key of a requeued payment has the series after the payment's id."""
    assert later == is_of_a_later_series(gateway_key=key, payment_id=7)


def test_an_amount_is_magic_however_many_zeros_it_has() -> None:
    """9000.010 equals 9000.01."""
    worst = Luck(0.0, 0.0)

    assert (
        plan(amount=Decimal("9000.010"), attempt=1, requeued=False, decided=False, luck=worst, profile=PROFILE)
        == APPROVE
    )
