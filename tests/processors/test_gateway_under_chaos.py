"""Our client of the gateway against everything that gateways do wrong: what it reports is safe to act upon.

Safe means: `approved` only when the money has moved, `turned_away` and a first `declined` only when it has not, and a
clear answer to an inquiry only when it is true. What is none of these has to be unknown.
"""

import asyncio
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from ledger.database import Database
from processors.chaos_gateway_plan import Behaviour, CallWeights, Deed, InquiryWeights, draw_call
from processors.gateway import Gateway, PayCall
from processors.outcomes import Approved, Declined, InquiryOutcome, NoClearAnswer, Outcome, TurnedAway, Unknown
from tests.processors.chaos_gateway_client import TEMPER, calls_that, inquiries_that, moved
from tests.processors.chaos_gateway_process import serving
from tests.processors.demo_gateway_process import fresh_book

pytestmark = pytest.mark.anyio

B = Behaviour
PAYMENTS = range(1, 17)
"""Enough for each behaviour to show itself in all its forms."""

LONG = 60.0
"""How long the gateway hangs here, in seconds: no machine is so slow that it ends before a deadline does."""

HANGING = {B.TIME_OUT, B.TIME_OUT_MOVED, B.SETTLE_LATE, B.DRIP, B.EFFECT_AFTER_ALL}

GIVEN: dict[Behaviour, set[type[Outcome]]] = {
    B.APPROVE: {Approved},
    B.DECLINE: {Declined},
    B.REFUSE: {Declined},
    B.REFUSE_AGAIN: {Declined},
    B.TURN_AWAY: {TurnedAway},
    B.TURN_AWAY_UNTIL: {TurnedAway},
    B.SERVER_ERROR: {Unknown},
    B.NOT_NOW: {Unknown},
    B.SAY_PENDING: {Unknown},
    B.REDIRECT: {Unknown},
    B.NOT_JSON: {Unknown},
    B.WRONG_CHARSET: {Unknown},
    B.HUGE_BODY: {Unknown},
    B.TIME_OUT: {Unknown},
    B.TIME_OUT_MOVED: {Unknown},
    B.SETTLE_LATE: {Unknown},
    B.DRIP: {Unknown},
    B.HANG_UP: {Unknown},
    B.RESET_IN_BODY: {Unknown},
    B.TRUNCATED_BODY: {Unknown},
    B.GARBAGE_HEAD: {Unknown},
    B.CONTINUE_FIRST: {Approved, Declined},
    B.CONTINUE_ONLY: {Unknown},
    B.CLOSE_AFTER_ANSWER: {Approved, Declined},
    B.CLOSE_ON_NEXT: {Approved, Declined},
    B.ANSWER_TWICE: {Approved, Declined},
    B.EFFECT_AFTER_ALL: {Unknown},
}
"""What a call that has a connection to itself reports of each behaviour."""

READABLE = {B.TELL, B.CONTINUE_FIRST, B.CLOSE_AFTER_ANSWER, B.CLOSE_ON_NEXT, B.ANSWER_TWICE}
"""The behaviours in which an inquiry is answered so that it can be understood."""


@pytest.fixture
def book(postgres_url: str) -> Iterator[Database]:
    """A book in a schema of its own, not made yet."""
    with fresh_book(postgres_url) as database:
        yield database


def call_of(payment_id: int) -> PayCall:
    return PayCall(
        payment_id=payment_id,
        user_id=7,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        gateway_key=f"payment-{payment_id}",
    )


def test_the_table_has_a_row_for_each_behaviour() -> None:
    """A new one has to be given a thought."""
    assert {behaviour.value for behaviour in GIVEN} == set(CallWeights.__struct_fields__)


@pytest.mark.parametrize("behaviour", GIVEN, ids=lambda behaviour: behaviour.value)
async def test_what_a_call_reports_of_each_behaviour(book: Database, behaviour: Behaviour) -> None:
    """As the table has it, in all forms of the behaviour; and true to the book."""
    async with serving(book, calls_that(behaviour, hang_seconds=LONG)) as url:
        async with Gateway(url, timeout_seconds=deadline_seconds(behaviour)) as gateway:
            answers = await asyncio.gather(*(gateway.pay(call_of(n)) for n in PAYMENTS))
        found = await moved(url)
    told = {n: answer.outcome for n, answer in zip(PAYMENTS, answers, strict=True)}

    assert {type(outcome) for outcome in told.values()} == GIVEN[behaviour]
    assert_safe(told, found)


def deadline_seconds(*behaviours: Behaviour) -> float:
    """Long enough for an answer on any machine, and short where none comes."""
    return 0.5 if HANGING & set(behaviours) else 20.0


def assert_safe(told: dict[int, Outcome], found: set[int]) -> None:
    """Approved means moved, and a refusal of any kind not moved."""
    for payment_id, outcome in told.items():
        match outcome:
            case Approved():
                assert payment_id in found
            case Declined() | TurnedAway():
                assert payment_id not in found
            case Unknown():
                pass


@pytest.mark.parametrize("behaviour", GIVEN, ids=lambda behaviour: behaviour.value)
async def test_what_was_done_to_one_call_does_not_spoil_the_next(book: Database, behaviour: Behaviour) -> None:
    """A few at a time through one client, whose connections the gateway closes, floods and answers twice on."""
    told: dict[int, Outcome] = {}
    at_once = 8 if behaviour in HANGING else 2
    async with serving(book, calls_that(behaviour, hang_seconds=LONG)) as url:
        async with Gateway(url, timeout_seconds=deadline_seconds(behaviour)) as gateway:
            for start in range(0, len(PAYMENTS), at_once):
                some = PAYMENTS[start : start + at_once]
                answers = await asyncio.gather(*(gateway.pay(call_of(n)) for n in some))
                told |= {n: answer.outcome for n, answer in zip(some, answers, strict=True)}
        found = await moved(url)

    assert {type(outcome) for outcome in told.values()} <= GIVEN[behaviour] | {Unknown}
    assert_safe(told, found)


TRUTH = {Deed.APPROVE: "ok", Deed.DECLINE: "declined", Deed.NOTHING: "not_found", Deed.APPROVE_LATER: "pending"}
"""What an inquiry is told, when it is told plainly, after which deed."""


@pytest.mark.parametrize("behaviour", [B(name) for name in InquiryWeights.__struct_fields__], ids=lambda b: b.value)
async def test_what_an_inquiry_reports_of_each_behaviour(book: Database, behaviour: Behaviour) -> None:
    """The truth where it can be understood, whatever it is, and no clear answer otherwise."""
    calls = CallWeights.only(B.SAY_PENDING, B.DECLINE)
    temper = inquiries_that(behaviour, calls=calls, hang_seconds=LONG, settle_seconds=1e9)
    deeds = {n: draw_call(temper, gateway_key=f"payment-{n}", attempt=1).deed for n in PAYMENTS}
    async with serving(book, temper) as url:
        async with Gateway(url, timeout_seconds=20.0) as gateway:
            await asyncio.gather(*(gateway.pay(call_of(n)) for n in PAYMENTS))
        async with Gateway(url, timeout_seconds=deadline_seconds(behaviour)) as gateway:
            answers = await asyncio.gather(*(gateway.inquire(n, f"payment-{n}") for n in PAYMENTS))

    assert set(deeds.values()) == set(TRUTH)
    for payment_id, answer in zip(PAYMENTS, answers, strict=True):
        truth = TRUTH[deeds[payment_id]]
        match answer.outcome:
            case Approved():
                assert (behaviour in READABLE, truth) == (True, "ok")
            case Declined(reason=reason):
                assert (behaviour in READABLE, truth) == (True, reason)
            case NoClearAnswer():
                assert behaviour not in READABLE or truth == "pending"


async def test_inquiries_through_one_client_are_true_or_say_nothing(book: Database) -> None:
    """Of a hundred payments, half of them moved, asked about again and again through connections that go wrong."""
    weights = replace(InquiryWeights(), tell=5.0)
    half = CallWeights.only(B.APPROVE, B.TURN_AWAY)
    temper = replace(TEMPER, calls=half, inquiries=weights, inquiries_bad_max=50, hang_seconds=LONG)
    told: list[tuple[int, InquiryOutcome]] = []
    async with serving(book, temper) as url:
        async with Gateway(url, timeout_seconds=3.0, connections_max=32) as gateway:
            await asyncio.gather(*(gateway.pay(call_of(n)) for n in range(1, 101)))
            for _ in range(4):
                answers = await asyncio.gather(*(gateway.inquire(n, f"payment-{n}") for n in range(1, 101)))
                told += [(n, answer.outcome) for n, answer in enumerate(answers, 1)]
        found = await moved(url)

    assert found
    assert {payment_id for payment_id, outcome in told if isinstance(outcome, Approved)} <= found
    assert not {payment_id for payment_id, outcome in told if isinstance(outcome, Declined)} & found
    assert len({type(outcome) for _, outcome in told}) == 3


async def test_in_the_usual_mix_whatever_is_reported_is_safe(book: Database) -> None:
    """Three attempts for each of 200 payments, at once through one client, as a worker does it."""

    async def attempts(gateway: Gateway, payment_id: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < 3 and not any(isinstance(outcome, Approved | Declined) for outcome in outcomes):
            outcomes.append((await gateway.pay(call_of(payment_id))).outcome)
        return outcomes

    async with serving(book, replace(TEMPER, hang_seconds=LONG)) as url:
        async with Gateway(url, timeout_seconds=3.0, connections_max=32) as gateway:
            told = dict(enumerate(await asyncio.gather(*(attempts(gateway, n) for n in range(1, 201))), 1))
        found = await moved(url)

    for payment_id, outcomes in told.items():
        unknown = any(isinstance(outcome, Unknown) for outcome in outcomes)
        match outcomes[-1]:
            case Approved():
                assert payment_id in found
            case Declined() | TurnedAway() if not unknown:
                assert payment_id not in found
            case _:
                pass
    assert len({type(outcome) for outcomes in told.values() for outcome in outcomes}) == 4
