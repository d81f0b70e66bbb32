"""The decisions of the chaos gateway: drawn from a seed alone, and adjusted to its book."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.simulators.chaos.scenario import (
    KINDS,
    Behaviour,
    CallWeights,
    ChaosProfile,
    DrawnAct,
    Effect,
    InquiryWeights,
    Standing,
    choose,
    draw_call,
    draw_inquiry,
    is_silent,
    on_call,
    on_inquiry,
)
from processors.simulators.demo.scenario import Decision

B, D = Behaviour, Effect
PROFILE = ChaosProfile(seed=7)
CALLS = [Behaviour(name) for name in CallWeights.__struct_fields__]
INQUIRIES = [Behaviour(name) for name in InquiryWeights.__struct_fields__]

REQUESTED = {B.EFFECT_AFTER_ALL, B.DUPLICATE}
"""The behaviours that occur only when their weight or their share is raised."""

seeds = st.integers(0, 2**63 - 1)
keys = st.text(min_size=1, max_size=30)
numbers = st.integers(1, 50)
lucks = st.floats(0, 1, exclude_max=True)


# --- drawing ---------------------------------------------------------------------------------------------------------


@given(seed=seeds, key=keys, number=numbers)
def test_a_draw_depends_on_seed_key_and_number_only(seed: int, key: str, number: int) -> None:
    """The same arguments always give the same draw."""
    profile = ChaosProfile(seed=seed)

    assert draw_call(profile, gateway_key=key, attempt=number) == draw_call(profile, gateway_key=key, attempt=number)
    assert draw_inquiry(profile, gateway_key=key, inquiry=number) == draw_inquiry(
        profile, gateway_key=key, inquiry=number
    )


def test_a_seed_gives_the_same_draws_in_every_version() -> None:
    """A failed run can be repeated as long as nobody changes the drawing or the weights."""
    calls = [draw_call(PROFILE, gateway_key=f"payment-{n}", attempt=n % 3 + 1) for n in range(1, 25)]
    inquiries = [draw_inquiry(PROFILE, gateway_key=f"payment-{n}", inquiry=1) for n in range(1, 17)]

    assert " ".join(act.behaviour.value for act in calls) == (
        "turn_away_until approve approve approve close_on_next approve approve approve reset_in_body approve "
        "approve approve say_pending hang_up answer_twice not_json approve turn_away approve approve approve "
        "approve refuse approve"
    )
    assert " ".join(act.behaviour.value for act in inquiries) == (
        "turn_away wrong_charset tell server_error tell bare_404 turn_away not_json say_pending reset_in_body "
        "tell tell tell tell not_now tell"
    )


def test_another_seed_key_or_number_gives_other_draws() -> None:
    """Seed, key and attempt all take part in the drawing."""

    def draws(seed: int, prefix: str, attempt: int) -> list[DrawnAct]:
        return [draw_call(ChaosProfile(seed=seed), gateway_key=f"{prefix}{n}", attempt=attempt) for n in range(100)]

    assert len({tuple(draws(*which)) for which in [(1, "a", 1), (2, "a", 1), (1, "b", 1), (1, "a", 2)]}) == 4


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_every_seed_draws_every_behaviour(seed: int) -> None:
    """Every behaviour occurs with each of its effects, except those that must be requested."""
    profile = ChaosProfile(seed=seed)
    calls = {draw_call(profile, gateway_key=f"payment-{n}", attempt=1) for n in range(10_000)}
    inquiries = {draw_inquiry(profile, gateway_key=f"payment-{n}", inquiry=1) for n in range(10_000)}

    assert {(act.behaviour, act.effect) for act in calls} == {
        (behaviour, effect) for behaviour in CALLS if behaviour not in REQUESTED for effect in KINDS[behaviour].effects
    }
    assert {act.behaviour for act in inquiries} == set(INQUIRIES)
    assert {act.effect for act in inquiries} == {D.NOTHING}


def test_draws_follow_the_weights() -> None:
    """Of 20,000 calls each behaviour has its share, within five standard deviations."""
    weights = CallWeights()
    total = sum(getattr(weights, name) for name in weights.__struct_fields__)

    drawn = Counter(draw_call(PROFILE, gateway_key=f"payment-{n}", attempt=1).behaviour for n in range(20_000))

    for behaviour in CALLS:
        expected = 20_000 * getattr(weights, behaviour.value) / total
        assert abs(drawn[behaviour] - expected) <= 5 * expected**0.5, behaviour


def test_most_first_attempts_end_well() -> None:
    """A service that runs against this gateway still settles most payments."""
    drawn = [draw_call(PROFILE, gateway_key=f"payment-{n}", attempt=1).behaviour for n in range(2_000)]

    assert sum(behaviour is B.APPROVE for behaviour in drawn) > len(drawn) / 2


@given(behaviour=st.sampled_from(CALLS), luck=lucks)
def test_a_single_weight_always_gives_its_behaviour(behaviour: Behaviour, luck: float) -> None:
    """It holds for every luck."""
    assert CallWeights.only(behaviour).pick(luck) is behaviour


@pytest.mark.parametrize("weights", [{"approve": -1.0}, {"approve": float("inf")}, {"approve": float("nan")}])
def test_weights_that_allow_no_draw_are_refused(weights: dict[str, float]) -> None:
    """A mistake in the weights is found before the gateway starts."""
    with pytest.raises(ValueError, match="weights"):
        CallWeights(**weights)
    with pytest.raises(ValueError, match="not all 0"):
        CallWeights.only()


@given(luck=lucks, count=st.integers(1, 10))
def test_a_form_is_always_found(luck: float, count: int) -> None:
    """The highest luck chooses the last form."""
    assert choose(range(count), luck) in range(count)


# --- habits ----------------------------------------------------------------------------------------------------------


def test_a_key_that_refuses_repeats_refuses_each_of_them() -> None:
    """The first call under it and all calls under other keys are drawn as ever."""
    profile = replace(PROFILE, duplicate_share=0.1)
    keys_and_attempts = [(f"payment-{n}", attempt) for n in range(1_000) for attempt in range(1, 5)]

    drawn = {(k, a): draw_call(profile, gateway_key=k, attempt=a).behaviour for k, a in keys_and_attempts}

    refused = Counter(key for (key, _), behaviour in drawn.items() if behaviour is B.DUPLICATE)
    assert set(refused.values()) == {3}
    assert 60 < len(refused) < 140
    assert all(drawn[k, a] is draw_call(PROFILE, gateway_key=k, attempt=a).behaviour for k, a in drawn if a == 1)


def test_429_in_a_row_begins_at_the_first_or_the_second_call() -> None:
    """A row is longer than a series of attempts, and ends."""
    profile = replace(PROFILE, row_share=1.0, calls=CallWeights.only(B.APPROVE))
    rows = {
        tuple(draw_call(profile, gateway_key=f"payment-{n}", attempt=a).behaviour for a in range(1, 7))
        for n in range(100)
    }

    assert rows == {(*[B.TURN_AWAY] * 4, B.APPROVE, B.APPROVE), (B.APPROVE, *[B.TURN_AWAY] * 4, B.APPROVE)}


def test_a_key_that_settles_after_all_does_so_at_each_call() -> None:
    """So no other behaviour decides about it before an inquiry is answered with not_found."""
    profile = replace(PROFILE, after_all_share=1.0)

    drawn = {draw_call(profile, gateway_key="payment-1", attempt=attempt) for attempt in range(1, 5)}

    assert {(act.behaviour, act.effect) for act in drawn} == {(B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL)}


# --- inquiries end ---------------------------------------------------------------------------------------------------


def test_only_the_first_inquiries_go_wrong() -> None:
    """Later inquiries are answered clearly, so every payment ends. Only silent payments stay in doubt."""
    profile = ChaosProfile(seed=3, inquiries_bad_max=2, silent_share=0.1)
    silent = {n for n in range(2_000) if is_silent(profile, gateway_key=f"payment-{n}")}

    third = {n: draw_inquiry(profile, gateway_key=f"payment-{n}", inquiry=3).behaviour for n in range(2_000)}

    assert 150 < len(silent) < 250
    assert all(behaviour is (B.SAY_PENDING if n in silent else B.TELL) for n, behaviour in third.items())


# --- adjusting a draw to the book ------------------------------------------------------------------------------------


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
        ((B.DUPLICATE, D.DECLINE), Standing(), (B.REFUSE, D.DECLINE)),
        # approved before: nothing more moves, and only ok is answered
        ((B.APPROVE, D.APPROVE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.DECLINE, D.DECLINE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.REFUSE, D.DECLINE), Standing(decision=Decision.APPROVED), (B.APPROVE, D.NOTHING)),
        ((B.REFUSE_AGAIN, D.DECLINE), Standing(decision=Decision.APPROVED), (B.REFUSE_AGAIN, D.NOTHING)),
        ((B.TIME_OUT, D.NOTHING), Standing(decision=Decision.APPROVED), (B.TIME_OUT_MOVED, D.NOTHING)),
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(decision=Decision.APPROVED), (B.TIME_OUT_MOVED, D.NOTHING)),
        ((B.DUPLICATE, D.DECLINE), Standing(decision=Decision.APPROVED), (B.DUPLICATE, D.NOTHING)),
        # declined before: only declined is answered
        ((B.APPROVE, D.APPROVE), Standing(decision=Decision.DECLINED), (B.DECLINE, D.NOTHING)),
        ((B.REFUSE_AGAIN, D.DECLINE), Standing(decision=Decision.DECLINED), (B.REFUSE, D.NOTHING)),
        ((B.TIME_OUT_MOVED, D.APPROVE), Standing(decision=Decision.DECLINED), (B.TIME_OUT, D.NOTHING)),
        ((B.DUPLICATE, D.DECLINE), Standing(decision=Decision.DECLINED), (B.REFUSE, D.NOTHING)),
        # sealed: a behaviour that would move money declines
        ((B.APPROVE, D.APPROVE), Standing(sealed=True), (B.DECLINE, D.DECLINE)),
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(sealed=True), (B.TIME_OUT, D.DECLINE)),
        ((B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL), Standing(sealed=True), (B.TIME_OUT, D.DECLINE)),
        ((B.TURN_AWAY, D.NOTHING), Standing(sealed=True), (B.TURN_AWAY, D.NOTHING)),
        # late money: it is not started twice, and can still be declined
        ((B.SETTLE_LATE, D.APPROVE_LATER), Standing(due=True), (B.TIME_OUT, D.NOTHING)),
        ((B.EFFECT_AFTER_ALL, D.APPROVE_AFTER_ALL), Standing(due=True), (B.TIME_OUT, D.NOTHING)),
        ((B.APPROVE, D.APPROVE), Standing(due=True), (B.APPROVE, D.APPROVE)),
        ((B.DECLINE, D.DECLINE), Standing(due=True), (B.DECLINE, D.DECLINE)),
        # a refused repetition leaves alone what the first call has begun
        ((B.DUPLICATE, D.DECLINE), Standing(due=True), (B.DUPLICATE, D.NOTHING)),
        ((B.DUPLICATE, D.DECLINE), Standing(lying=True), (B.DUPLICATE, D.NOTHING)),
    ],
)
def test_a_call_is_adjusted_to_the_book(
    drawn: tuple[Behaviour, Effect], standing: Standing, done: tuple[Behaviour, Effect]
) -> None:
    """A key is decided once, declined once it is sealed, and answered truly."""
    act = on_call(DrawnAct(*drawn, 0.25, 0.75), standing)

    assert DrawnAct(*done, 0.25, 0.75) == act


@pytest.mark.parametrize(
    ("behaviour", "standing", "word", "effect"),
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
def test_an_inquiry_answered_not_found_seals_the_key(
    behaviour: Behaviour, standing: Standing, word: str, effect: Effect
) -> None:
    """A caller that is told not_found may rely on it. An answer without a word seals nothing."""
    act = on_inquiry(DrawnAct(behaviour, D.NOTHING, 0.0, 0.0), standing)

    assert (standing.word, act.behaviour, act.effect) == (word, behaviour, effect)


class Key:
    """A key's place in a book, kept in memory."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.effects = 0

    def do(self, effect: Effect) -> None:
        match effect:
            case Effect.APPROVE:
                assert self.standing.decision is None
                self.effects += 1
                self.standing = Standing(decision=Decision.APPROVED, sealed=self.standing.sealed)
            case Effect.DECLINE:
                assert self.standing.decision is None
                self.standing = Standing(decision=Decision.DECLINED, sealed=self.standing.sealed)
            case Effect.APPROVE_LATER:
                self.standing = replace(self.standing, due=True)
            case Effect.APPROVE_AFTER_ALL:
                due = self.standing.lying
                self.standing = replace(self.standing, lying=not due, due=due)
            case Effect.SEAL:
                self.standing = replace(self.standing, sealed=True)
            case Effect.NOTHING:
                pass

    def time_passes(self) -> None:
        if self.standing.due:
            self.do(Effect.APPROVE)


calls = st.sampled_from([behaviour for behaviour in CALLS if behaviour is not B.EFFECT_AFTER_ALL])
steps = st.lists(
    st.one_of(
        calls.flatmap(lambda b: st.tuples(st.just("pay"), st.just(b), st.sampled_from(KINDS[b].effects))),
        st.tuples(st.just("inquire"), st.sampled_from(INQUIRIES), st.just(D.NOTHING)),
        st.just(("time", B.TELL, D.NOTHING)),
    ),
    max_size=12,
)


@given(steps=steps)
def test_any_sequence_of_requests_keeps_the_gateways_promises(
    steps: list[tuple[str, Behaviour, Effect]],
) -> None:
    """A key has one effect at most. Declined and not_found stay true, and ok, refusals and 429 are true when sent."""
    key, never = Key(), False
    for kind, behaviour, effect in steps:
        drawn = DrawnAct(behaviour, effect, 0.0, 0.0)
        if kind == "time":
            key.time_passes()
        elif kind == "inquire":
            act = on_inquiry(drawn, key.standing)
            told = key.standing.word if KINDS[act.behaviour].tells else None
            key.do(act.effect)
            never = never or told in {"declined", "not_found"}
        else:
            act = on_call(drawn, key.standing)
            key.do(act.effect)
            decision = key.standing.decision
            assert act.behaviour is not B.TURN_AWAY or act.effect is D.NOTHING
            assert act.behaviour is not B.APPROVE or decision is Decision.APPROVED
            assert act.behaviour not in {B.DECLINE, B.REFUSE} or decision is Decision.DECLINED
            assert act.behaviour is not B.TIME_OUT_MOVED or decision is Decision.APPROVED
            assert not KINDS[act.behaviour].tells or decision is not None
            never = never or (KINDS[act.behaviour].tells and decision is Decision.DECLINED)
        assert key.effects <= (0 if never else 1)


def test_a_lie_must_be_requested() -> None:
    """The one behaviour that breaks a promise is never drawn by default."""
    assert (CallWeights().effect_after_all, PROFILE.after_all_share) == (0, 0)
    assert all(D.APPROVE_AFTER_ALL not in kind.effects for b, kind in KINDS.items() if b is not B.EFFECT_AFTER_ALL)


def test_every_behaviour_is_described_and_can_be_drawn() -> None:
    """Each behaviour has a description, and each can be drawn for a call or an inquiry."""
    assert set(KINDS) == set(Behaviour) == {*CALLS, *INQUIRIES}
