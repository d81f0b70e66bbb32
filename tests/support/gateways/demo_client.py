"""Calls of the demo gateway, and the list of its effects."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from processors.gateways.client import PayCall
from processors.simulators.demo.scenario import DemoProfile

GOOD = DemoProfile(timeout_rate=0.0, error_rate=0.0, seed=1, hang_seconds=60)
DEADLINE_SECONDS = 1.0
EXACT = msgspec.json.Decoder(float_hook=Decimal)

_ids = iter(range(1, 10**6))


def payment_id() -> int:
    """Return an id that no other test uses."""
    return next(_ids)


def call_of(payment: int, amount: Decimal, key: str) -> PayCall:
    """Build a call as the worker does."""
    return PayCall(
        payment_id=payment,
        account_id=7,
        kind="withdraw",
        amount_minor=int(amount * 100),
        fee_minor=400,
        currency="USD",
        gateway_key=key,
    )


async def effects_of(url: str) -> list[dict[str, Any]]:
    """Read the whole list of effects, page by page, with exact amounts."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        while after is not None:
            answer = await client.get("/effects", params={"after": after, "limit": 100})
            page = EXACT.decode(answer.content)
            found += page["items"]
            after = page["next_after"]
    return found


async def until_effects(url: str, count: int) -> None:
    """Wait until the gateway lists so many effects."""
    while True:
        if len(await effects_of(url)) >= count:
            return
        await asyncio.sleep(0.02)
