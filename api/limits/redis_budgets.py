"""Budgets in a Redis, which all API processes share: one script for each request, so two requests never count as one.

A limit protects capacity and no money, so a Redis that is away stops nobody: while it does not answer, each process
counts by itself, as it would without a Redis. It is asked again once a second, and each question has a quarter of a
second. The log says when that begins, every ten seconds, and when it ends.
"""

import asyncio
import time
from collections.abc import Sequence
from importlib.resources import files
from math import inf
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.limits.budgets import Budget, Charge, MemoryBudgets
from ledger.sessions.outage_log import OutageLog

ANSWER_SECONDS_MAX: Final = 0.25
AGAIN_SECONDS: Final = 1.0
CONNECTIONS_MAX: Final = 8

PREFIX: Final = "payment-ledger"
"""The names of all keys in the Redis begin with it."""


class RedisBudgets:
    """The budgets of the callers of all processes that share a Redis."""

    def __init__(self, url: str, *, answer_seconds: float = ANSWER_SECONDS_MAX) -> None:
        """Use the Redis at a URL; nothing connects before the first request. Each question has so many seconds."""
        self._answer_seconds = answer_seconds
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=answer_seconds,
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # a connection needs no greeting then
            driver_info=None,
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._take = self._redis.register_script(files("api.limits").joinpath("take.lua").read_text("utf-8"))
        self._own = MemoryBudgets()
        self._log = OutageLog("limits")
        self._ask_again_at = -inf

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def take(self, caller: str, charges: Sequence[Charge]) -> list[Budget]:
        """Use up all the charges of a caller's request, or none if one of its rates has too little left."""
        if time.monotonic() < self._ask_again_at:
            return self._own.take(caller, charges)
        try:
            async with asyncio.timeout(self._answer_seconds):
                answer = await self._take(keys=_names(caller, charges), args=_numbers(charges))
        except (RedisError, OSError, TimeoutError) as error:
            self._ask_again_at = time.monotonic() + AGAIN_SECONDS
            self._log.failed(type(error).__name__)
            return self._own.take(caller, charges)
        self._log.worked()
        return _budgets(charges, answer)


def _names(caller: str, charges: Sequence[Charge]) -> list[str]:
    """Return the names of a caller's rates. The braces keep them on one node of a cluster."""
    return [f"{PREFIX}:{{{caller}}}:{charge.rate.name}" for charge in charges]


def _numbers(charges: Sequence[Charge]) -> list[int]:
    rates = [(charge.rate.quota, charge.rate.window_seconds, charge.units) for charge in charges]
    return [number for numbers in rates for number in numbers]


def _budgets(charges: Sequence[Charge], answer: list[Any]) -> list[Budget]:
    numbers = zip(answer[1::3], answer[2::3], answer[3::3], strict=True)
    return [
        Budget(charge.rate, left, wait_us / 1_000_000, refused=bool(refused))
        for charge, (left, wait_us, refused) in zip(charges, numbers, strict=True)
    ]
