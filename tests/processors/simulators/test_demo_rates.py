"""Ordinary amounts: the demo gateway errs and times out at the rates of its profile, as its seed decides."""

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from ledger.store.database import Database
from processors.gateways.client import Gateway
from processors.gateways.outcomes import Approved
from processors.simulators.demo.scenario import DemoProfile
from tests.support.gateways.demo_client import DEADLINE_SECONDS, call_of, effects_of
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book

pytestmark = pytest.mark.anyio


async def ends_of_first_attempts(url: str, payments: int, *, deadline_seconds: float) -> list[str]:
    """Make one call for each of many payments, all at once, and return the error or "approved" of each."""
    async with Gateway(url, timeout_seconds=deadline_seconds, connections_max=32) as gateway:
        room = asyncio.Semaphore(32)

        async def end(payment: int) -> str:
            async with room:
                answer = await gateway.pay(call_of(payment, Decimal(200), f"payment-{payment}"))
                return answer.error or "approved"

        return await asyncio.gather(*(end(payment) for payment in range(1, payments + 1)))


async def test_errors_and_time_outs_come_in_the_given_proportions(book: Database) -> None:
    """A quarter are errors and a tenth time-outs.

    About half of the time-outs moved the money, and none of the errors did.
    """
    profile = DemoProfile(timeout_rate=0.10, error_rate=0.25, seed=7, hang_seconds=60)
    with DemoGatewayProcess(book, profile) as process:
        ends = await ends_of_first_attempts(process.url, 400, deadline_seconds=2.0)
        moved = {effect["payment_id"] for effect in await effects_of(process.url)}

    count = Counter(ends)
    told = {end: {payment for payment, other in enumerate(ends, 1) if other == end} for end in count}
    assert 75 <= count["gateway_error_502"] <= 125
    assert 22 <= count["timeout"] <= 60
    assert count["approved"] == 400 - count["gateway_error_502"] - count["timeout"]
    assert told["approved"] <= moved
    assert not told["gateway_error_502"] & moved
    assert 0 < len(told["timeout"] & moved) < count["timeout"]


async def test_a_key_that_was_decided_is_answered_at_once(book: Database) -> None:
    """A time-out that moved the money is the last one under its key."""
    with DemoGatewayProcess(book, DemoProfile(timeout_rate=1.0, error_rate=0.0, seed=3, hang_seconds=60)) as process:
        first = await ends_of_first_attempts(process.url, 20, deadline_seconds=DEADLINE_SECONDS)
        moved = {effect["payment_id"] for effect in await effects_of(process.url)}
        async with Gateway(process.url, timeout_seconds=20) as gateway:
            payments = range(1, 21)
            keys = [f"payment-{payment}" for payment in payments]
            asked = [await gateway.inquire(payment, key) for payment, key in zip(payments, keys, strict=True)]
            second = await asyncio.gather(
                *(gateway.pay(call_of(payment, Decimal(200), f"payment-{payment}")) for payment in sorted(moved))
            )

    assert set(first) == {"timeout"}
    assert 0 < len(moved) < 20
    assert moved == {payment for payment in payments if isinstance(asked[payment - 1].outcome, Approved)}
    assert {"not_found"} == {inquiry.error for inquiry in asked if inquiry.error}
    assert all(isinstance(answer.outcome, Approved) for answer in second)


async def test_a_seed_decides_everything(postgres_url: str) -> None:
    """Two gateways with one seed give the same ends, and another seed gives others."""
    ends = []
    for seed in (1, 1, 2):
        profile = DemoProfile(timeout_rate=0.0, error_rate=0.5, seed=seed)
        with fresh_book(postgres_url) as book, DemoGatewayProcess(book, profile) as process:
            ends.append(await ends_of_first_attempts(process.url, 40, deadline_seconds=20))

    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


async def test_rates_of_zero_and_one(postgres_url: str) -> None:
    """Rates of 0 never err, and an error rate of 1 always does."""
    for error_rate, told in ((0.0, "approved"), (1.0, "gateway_error_502")):
        profile = DemoProfile(timeout_rate=0.0, error_rate=error_rate)
        with fresh_book(postgres_url) as book, DemoGatewayProcess(book, profile) as process:
            assert {told} == set(await ends_of_first_attempts(process.url, 30, deadline_seconds=20))
