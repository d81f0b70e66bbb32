"""What the chaos gateway does: drawn by a seed alone, and fitted to what stands in the book."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.chaos_gateway_plan import (
    KINDS,
    Act,
    Behaviour,
    CallWeights,
    Deed,
    InquiryWeights,
    Standing,
    Temper,
    choose,
    draw_call,
    draw_inquiry,
    is_silent,
    on_call,
    on_inquiry,
)
from processors.demo_gateway_plan import Decision

B, D = Behaviour, Deed
TEMPER = Temper(seed=7)
CALLS = [Behaviour(name) for name in CallWeights.__struct_fields__]
INQUIRIES = [Behaviour(name) for name in InquiryWeights.__struct_fields__]

seeds = st.integers(0, 2**63 - 1)
keys = st.text(min_size=1, max_size=30)
numbers = st.integers(1, 50)
lucks = st.floats(0, 1, exclude_max=True)


# --- drawing ---------------------------------------------------------------------------------------------------------


@given(seed=seeds, key=keys, number=numbers)
def test_what_is_drawn_follows_from_seed_key_and_number(seed: int, key: str, number: int) -> None:
    """Asked twice, the same comes twice."""
    temper = Temper(seed=seed)

    assert draw_call(temper, gateway_key=key, attempt=number) == draw_call(temper, gateway_key=key, attempt=number)
    assert draw_inquiry(temper, gateway_key=key, inquiry=number) == draw_inquiry(
        temper, gateway_key=key, inquiry=number
    )


def test_a_seed_means_the_same_tomorrow() -> None:
    """A run that went wrong can be had again as long as nobody changes how luck is drawn, or the weights."""
    calls = [draw_call(TEMPER, gateway_key=f"payment-{n}", attempt=n % 3 + 1) for n in range(1, 25)]
    inquiries = [draw_inquiry(TEMPER, gateway_key=f"payment-{n}", inquiry=1) for n in range(1, 17)]

    assert " ".join(act.behaviour.value for act in calls) == (
        "turn_away_until approve approve approve close_on_next approve approve approve reset_in_body approve "
        "approve approve say_pending hang_up answer_twice not_json approve turn_away approve approve approve "
        "approve refuse approve"
    )
    assert " ".join(act.behaviour.value for act in inquiries) == (
        "turn_away wrong_charset tell server_error tell bare_404 turn_away not_json say_pending reset_in_body "
        "tell tell tell tell not_now tell"
    )


def test_another_seed_key_or_number_brings_something_else() -> None:
    """Nothing that names an attempt is left out of the drawing."""

    def draws(seed: int, prefix: str, attempt: int) -> list[Act]:
        return [draw_call(Temper(seed=seed), gateway_key=f"{prefix}{n}", attempt=attempt) for n in range(100)]

    assert len({tuple(draws(*which)) for which in [(1, "a", 1), (2, "a", 1), (1, "b", 1), (1, "a", 2)]}) == 4


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_everything_happens_under_every_seed(seed: int) -> None:
    """Each behaviour with each of its deeds, but the one that has to be asked for."""
    temper = Temper(seed=seed)
    calls = {draw_call(temper, gateway_key=f"payment-{n}", attempt=1) for n in range(10_000)}
    inquiries = {draw_inquiry(temper, gateway_key=f"payment-{n}", inquiry=1) for n in range(10_000)}

    assert {(act.behaviour, act.deed) for act in calls} == {
        (behaviour, deed)
        for behaviour in CALLS
        if behaviour is not B.EFFECT_AFTER_ALL
        for deed in KINDS[behaviour].deeds
    }
    assert {act.behaviour for act in inquiries} == set(INQUIRIES)
    assert {act.deed for act in inquiries} == {D.NOTHING}


def test_weights_are_heeded() -> None:
    """Of 20,000 calls each behaviour has its share, give or take five standard deviations."""
    weights = CallWeights()
    total = sum(getattr(weights, name) for name in weights.__struct_fields__)

    drawn = Counter(draw_call(TEMPER, gateway_key=f"payment-{n}", attempt=1).behaviour for n in range(20_000))

    for behaviour in CALLS:
        expected = 20_000 * getattr(weights, behaviour.value) / total
        assert abs(drawn[behaviour] - expected) <= 5 * expected**0.5, behaviour


def test_most_first_attempts_end_well() -> None:
    """A service that runs against this gateway still gets something done."""
    drawn = [draw_call(TEMPER, gateway_key=f"payment-{n}", attempt=1).behaviour for n in range(2_000)]

    assert sum(behaviour is B.APPROVE for behaviour in drawn) > len(drawn) / 2


@given(behaviour=st.sampled_from(CALLS), luck=lucks)
def test_nothing_else_is_drawn_when_only_one_is_wanted(behaviour: Behaviour, luck: float) -> None:
    """Whatever the luck."""
    assert CallWeights.only(behaviour).pick(luck) is behaviour


@pytest.mark.parametrize("weights", [{"approve": -1.0}, {"approve": float("inf")}, {"approve": float("nan")}])
def test_weights_by_which_nothing_can_be_drawn_are_refused(weights: dict[str, float]) -> None:
    """A mistake in a mix of weights is found before the gateway starts."""
    with pytest.raises(ValueError, match="weights"):
        CallWeights(**weights)
    with pytest.raises(ValueError, match="not all 0"):
        CallWeights.only()


@given(luck=lucks, count=st.integers(1, 10))
def test_a_form_is_always_found(luck: float, count: int) -> None:
    """The largest luck chooses the last one, and none beyond it."""
    assert choose(range(count), luck) in range(count)


# --- inquiries come to an end ----------------------------------------------------------------------------------------


def test_an_inquiry_goes_wrong_only_so_often() -> None:
    """Then it is told plainly, so that every payment comes to an end; but for the silent ones, which stay in doubt."""
    temper = Temper(seed=3, inquiries_bad_max=2, silent_share=0.1)
    silent = {n for n in range(2_000) if is_silent(temper, gateway_key=f"payment-{n}")}

    third = {n: draw_inquiry(temper, gateway_key=f"payment-{n}", inquiry=3).behaviour for n in range(2_000)}

    assert 150 < len(silent) < 250
    assert all(behaviour is (B.SAY_PENDING if n in silent else B.TELL) for n, behaviour in third.items())


# --- what is drawn meets what stands in the book ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "standing", "done"),
    [
        # an undecided key: as drawn
        ((B.APPROVE, D.APPROVE), Standing(), (B.APPROVE, D.APPROVE)),
        ((B.REFUSE, D.DECLINE), Standing(), (B.REFUSE, D.DECLINE)),
        ((B.REFUSE_AGAIN, D.DECLINE), Standing(), (B.REFUSE, D.DECLINE)),
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(), (B.SETTLE_LATE, D.APPROVE_LATER)),
        ((B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL), Standing(), (B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL)),
        ((B.TURN_AWAY, D.NOTHING), Standing(), (B.TURN_AWAY, D.NOTHING)),
        # approved before: nothing more is done, and only ok is told
        ((B.APPROVE, D.APPROVE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.DECLINE, D.DECLINE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.REFUSE, D.DECLINE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.REFUSE_AGAIN, D.DECLINE), Standing(decision=Decision.APPROVED), (B.REFUSE_AGAIN, D.NOTHING)),
        ((B.TIME_OUT, D.NOTHING), Standing(decision=Decision.APPROVED), (B.TIME_OUT_MOVED, D.NOTHING)),
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(decision=Decision.APPROVED), (B.TIME_OUT_MOVED, D.NOTHING)),
        # declined before: only declined is told
        ((B.APPROVE, D.APPROVE), Standing(decision=Decision.DECLINED), (B.DECLINE, D.NOTHING)),
        ((B.REFUSE_AGAIN, D.DECLINE), Standing(decision=Decision.DECLINED), (B.REFUSE, D.NOTHING)),
        ((B.TIME_OUT_MOVED, D.APPROVE), Standing(decision=Decision.DECLINED), (B.TIME_OUT, D.NOTHING)),
        # sealed: whatever would move money declines
        ((B.APPROVE, D.APPROVE), Standing(sealed=True), (B.DECLINE, D.DECLINE)),
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(sealed=True), (B.TIME_OUT, D.DECLINE)),
        ((B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL), Standing(sealed=True), (B.TIME_OUT, D.DECLINE)),
        ((B.TURN_AWAY, D.NOTHING), Standing(sealed=True), (B.TURN_AWAY, D.NOTHING)),
        # money on its way: it is not put on its way again, and can still be overtaken
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(due=True), (B.TIME_OUT, D.NOTHING)),
        ((B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL), Standing(due=True), (B.TIME_OUT, D.NOTHING)),
        ((B.APPROVE, D.APPROVE), Standing(due=True), (B.APPROVE, D.APPROVE)),
        ((B.DECLINE, D.DECLINE), Standing(due=True), (B.DECLINE, D.DECLINE)),
    ],
)
def test_a_call_is_fitted_to_what_stands_in_the_book(
    drawn: tuple[Behaviour, Deed], standing: Standing, done: tuple[Behaviour, Deed]
) -> None:
    """Decided once, declined once sealed, told truly."""
    act = on_call(Act(*drawn, 0.25, 0.75), standing)

    assert Act(*done, 0.25, 0.75) == act


@pytest.mark.parametrize(
    ("behaviour", "standing", "word", "deed"),
    [
        (B.TELL, Standing(), "not_found", D.SEAL),
        (B.CONTINUE_FIRST, Standing(), "not_found", D.SEAL),
        (B.BARE_404, Standing(), "not_found", D.NOTHING),
        (B.TELL, Standing(lying=True), "not_found", D.APPROVE_AFTER_ALL),
        (B.TELL, Standing(due=True), "pending", D.NOTHING),
        (B.TELL, Standing(sealed=True), "not_found", D.SEAL),
        (B.TELL, Standing(decision=Decision.APPROVED), "ok", D.NOTHING),
        (B.TELL, Standing(decision=Decision.DECLINED), "declined", D.NOTHING),
    ],
)
def test_an_inquiry_seals_what_it_says_is_not_found(
    behaviour: Behaviour, standing: Standing, word: str, deed: Deed
) -> None:
    """Whoever is told not_found may rely on it; what says nothing binds nobody."""
    act = on_inquiry(Act(behaviour, D.NOTHING, 0.0, 0.0), standing)

    assert (standing.word, act.behaviour, act.deed) == (word, behaviour, deed)


class Key:
    """A key's place in a book that is kept by hand."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.effects = 0

    def do(self, deed: Deed) -> None:
        match deed:
            case Deed.APPROVE:
                assert self.standing.decision is None
                self.effects += 1
                self.standing = Standing(decision=Decision.APPROVED, sealed=self.standing.sealed)
            case Deed.DECLINE:
                assert self.standing.decision is None
                self.standing = Standing(decision=Decision.DECLINED, sealed=self.standing.sealed)
            case Deed.APPROVE_LATER:
                self.standing = replace(self.standing, due=True)
            case Deed.APPROVE_AFTER_ALL:
                due = self.standing.lying
                self.standing = replace(self.standing, lying=not due, due=due)
            case Deed.SEAL:
                self.standing = replace(self.standing, sealed=True)
            case Deed.NOTHING:
                pass

    def time_passes(self) -> None:
        if self.standing.due:
            self.do(Deed.APPROVE)


calls = st.sampled_from([behaviour for behaviour in CALLS if behaviour is not B.EFFECT_AFTER_ALL])
steps = st.lists(
    st.one_of(
        calls.flatmap(lambda b: st.tuples(st.just("pay"), st.just(b), st.sampled_from(KINDS[b].deeds))),
        st.tuples(st.just("inquire"), st.sampled_from(INQUIRIES), st.just(D.NOTHING)),
        st.just(("time", B.TELL, D.NOTHING)),
    ),
    max_size=12,
)


@given(steps=steps)
def test_whatever_comes_in_whatever_sequence_the_gateway_keeps_its_word(
    steps: list[tuple[str, Behaviour, Deed]],
) -> None:
    """One effect at most; declined and not_found stay true; ok, refusals and 429 are true when they are said."""
    key, never = Key(), False
    for kind, behaviour, deed in steps:
        drawn = Act(behaviour, deed, 0.0, 0.0)
        if kind == "time":
            key.time_passes()
        elif kind == "inquire":
            act = on_inquiry(drawn, key.standing)
            told = key.standing.word if KINDS[act.behaviour].tells else None
            key.do(act.deed)
            never = never or told in {"declined", "not_found"}
        else:
            act = on_call(drawn, key.standing)
            key.do(act.deed)
            decision = key.standing.decision
            assert act.behaviour is not B.TURN_AWAY or act.deed is D.NOTHING
            assert act.behaviour is not B.APPROVE or decision is Decision.APPROVED
            assert act.behaviour not in {B.DECLINE, B.REFUSE} or decision is Decision.DECLINED
            assert act.behaviour is not B.TIME_OUT_MOVED or decision is Decision.APPROVED
            assert not KINDS[act.behaviour].tells or decision is not None
            never = never or (KINDS[act.behaviour].tells and decision is Decision.DECLINED)
        assert key.effects <= (0 if never else 1)


def test_a_lie_has_to_be_asked_for() -> None:
    """The one behaviour that breaks a promise never comes by itself."""
    assert CallWeights().effect_after_all == 0
    assert all(D.APPROVE_AFTER_ALL not in kind.deeds for b, kind in KINDS.items() if b is not B.EFFECT_AFTER_ALL)


def test_every_behaviour_is_described_and_weighed() -> None:
    """None is forgotten, and none can be drawn that nobody knows."""
    assert set(KINDS) == set(Behaviour) == {*CALLS, *INQUIRIES}
