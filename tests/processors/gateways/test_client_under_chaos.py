"""The gateway client against everything that gateways do wrong: it is safe to act on its outcomes.

Safe means: `Approved` only if the money has moved, `NotAccepted` and a first `Declined` only if it has not, and a clear
answer to an inquiry only if it is true. Every other outcome must be unknown.
"""

import asyncio
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from ledger.store.database import Database
from processors.gateways.client import Gateway, PayCall
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
from processors.simulators.chaos.scenario import Behaviour, CallWeights, Effect, InquiryWeights, draw_call
from tests.support.gateways.chaos_client import PROFILE, calls_that, inquiries_that, moved
from tests.support.gateways.chaos_process import serving
from tests.support.gateways.demo_process import fresh_book

pytestmark = pytest.mark.anyio

B = Behaviour
PAYMENTS = range(1, 17)
"""Enough payments for each behaviour to occur in all its forms."""

LONG = 60.0
"""How long the gateway hangs here, in seconds, so that even on a slow machine it hangs past every deadline."""

HANGING = {B.TIME_OUT, B.TIME_OUT_MOVED, B.SETTLE_LATE, B.DRIP, B.EFFECT_AFTER_ALL}

GIVEN: dict[Behaviour, set[type[Outcome]]] = {
    B.APPROVE: {Approved},
    B.DECLINE: {Declined},
    B.REFUSE: {Declined},
    B.REFUSE_AGAIN: {Declined},
    B.TURN_AWAY: {NotAccepted},
    B.TURN_AWAY_UNTIL: {NotAccepted},
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
    B.DUPLICATE: {Declined},
}
"""The outcomes that the client reports for each behaviour, on a connection that serves one call."""

READABLE = {B.TELL, B.CONTINUE_FIRST, B.CLOSE_AFTER_ANSWER, B.CLOSE_ON_NEXT, B.ANSWER_TWICE}
"""The behaviours in which the answer to an inquiry can be understood."""


@pytest.fixture
def book(postgres_url: str) -> Iterator[Database]:
    """Yield a schema for the gateway's book, not created yet."""
    with fresh_book(postgres_url) as database:
        yield database


def call_of(payment_id: int) -> PayCall:
    return PayCall(
        payment_id=payment_id,
        account_id=7,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        gateway_key=f"payment-{payment_id}",
    )


def test_the_table_has_a_row_for_each_behaviour() -> None:
    """A new behaviour needs a row in the table."""
    assert {behaviour.value for behaviour in GIVEN} == set(CallWeights.__struct_fields__)


@pytest.mark.parametrize("behaviour", GIVEN, ids=lambda behaviour: behaviour.value)
async def test_what_a_call_reports_of_each_behaviour(book: Database, behaviour: Behaviour) -> None:
    """The outcomes are those of the table, in all forms of the behaviour, and they agree with the book."""
    async with serving(book, calls_that(behaviour, hang_seconds=LONG)) as url:
        async with Gateway(url, timeout_seconds=deadline_seconds(behaviour)) as gateway:
            answers = await asyncio.gather(*(gateway.pay(call_of(n)) for n in PAYMENTS))
        found = await moved(url)
    told = {n: answer.outcome for n, answer in zip(PAYMENTS, answers, strict=True)}

    assert {type(outcome) for outcome in told.values()} == GIVEN[behaviour]
    assert_safe(told, found)


def deadline_seconds(*behaviours: Behaviour) -> float:
    """Long enough for an answer on any machine, and short if no answer comes."""
    return 0.5 if HANGING & set(behaviours) else 20.0


def assert_safe(told: dict[int, Outcome], found: set[int]) -> None:
    """Approved means moved. Declined and not accepted mean not moved."""
    for payment_id, outcome in told.items():
        match outcome:
            case Approved():
                assert payment_id in found
            case Declined() | NotAccepted():
                assert payment_id not in found
            case Unknown():
                pass


@pytest.mark.parametrize("behaviour", GIVEN, ids=lambda behaviour: behaviour.value)
async def test_a_behaviour_does_not_spoil_the_next_call(book: Database, behaviour: Behaviour) -> None:
    """Several calls share one client, whose connections the gateway closes, floods, and answers twice on."""
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


TRUTH = {Effect.APPROVE: "ok", Effect.DECLINE: "declined", Effect.NOTHING: "not_found", Effect.APPROVE_LATER: "pending"}
"""The clear answer to an inquiry after each effect."""


@pytest.mark.parametrize("behaviour", [B(name) for name in InquiryWeights.__struct_fields__], ids=lambda b: b.value)
async def test_what_an_inquiry_reports_of_each_behaviour(book: Database, behaviour: Behaviour) -> None:
    """A readable answer gives the truth, and any other one counts as no clear answer."""
    calls = CallWeights.only(B.SAY_PENDING, B.DECLINE)
    profile = inquiries_that(behaviour, calls=calls, hang_seconds=LONG, settle_seconds=1e9)
    effects = {n: draw_call(profile, gateway_key=f"payment-{n}", attempt=1).effect for n in PAYMENTS}
    async with serving(book, profile) as url:
        async with Gateway(url, timeout_seconds=20.0) as gateway:
            await asyncio.gather(*(gateway.pay(call_of(n)) for n in PAYMENTS))
        async with Gateway(url, timeout_seconds=deadline_seconds(behaviour)) as gateway:
            answers = await asyncio.gather(*(gateway.inquire(n, f"payment-{n}") for n in PAYMENTS))

    assert set(effects.values()) == set(TRUTH)
    for payment_id, answer in zip(PAYMENTS, answers, strict=True):
        truth = TRUTH[effects[payment_id]]
        match answer.outcome:
            case Approved():
                assert (behaviour in READABLE, truth) == (True, "ok")
            case Declined(reason=reason):
                assert (behaviour in READABLE, truth) == (True, reason)
            case NotFound():
                assert (behaviour in READABLE, truth) == (True, "not_found")
            case NoClearAnswer():
                assert behaviour not in READABLE or truth == "pending"


async def test_inquiries_through_one_client_are_true_or_say_nothing(book: Database) -> None:
    """Half of a hundred payments moved. Inquiries about all of them go through connections that fail."""
    weights = replace(InquiryWeights(), tell=5.0)
    half = CallWeights.only(B.APPROVE, B.TURN_AWAY)
    profile = replace(PROFILE, calls=half, inquiries=weights, inquiries_bad_max=50, hang_seconds=LONG)
    told: list[tuple[int, InquiryOutcome]] = []
    async with serving(book, profile) as url:
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


async def test_all_outcomes_of_the_usual_mix_are_safe(book: Database) -> None:
    """As a worker would, the test makes up to three attempts for each of 200 payments through one client."""

    async def attempts(gateway: Gateway, payment_id: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < 3 and not any(isinstance(outcome, Approved | Declined) for outcome in outcomes):
            outcomes.append((await gateway.pay(call_of(payment_id))).outcome)
        return outcomes

    async with serving(book, replace(PROFILE, hang_seconds=LONG)) as url:
        async with Gateway(url, timeout_seconds=3.0, connections_max=32) as gateway:
            told = dict(enumerate(await asyncio.gather(*(attempts(gateway, n) for n in range(1, 201))), 1))
        found = await moved(url)

    for payment_id, outcomes in told.items():
        unknown = any(isinstance(outcome, Unknown) for outcome in outcomes)
        match outcomes[-1]:
            case Approved():
                assert payment_id in found
            case Declined() | NotAccepted() if not unknown:
                assert payment_id not in found
            case _:
                pass
    assert len({type(outcome) for outcomes in told.values() for outcome in outcomes}) == 4
