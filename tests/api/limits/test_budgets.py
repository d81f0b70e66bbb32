"""Budgets: a rate is spent at once and comes back steadily, in memory and in a real Redis alike."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api.limits.budgets import Budget, Charge, MemoryBudgets, Rate
from api.limits.redis_budgets import RedisBudgets
from tests.support.databases import suspended
from tests.support.servers.redis_server import RedisServer, needs_redis, redis_server

A_SECOND: Final = Rate("requests", 10, 1)
A_MINUTE: Final = Rate("payments", 60, 60)
AN_HOUR: Final = Rate("hours", 4, 14_400)
"""A rate of which nothing comes back while a test runs."""


def left(budgets: list[Budget]) -> list[tuple[int, bool]]:
    """The rest of each rate, and whether it refuses."""
    return [(budget.remaining, budget.refused) for budget in budgets]


class TestMemory:
    """The budgets of one process, at times that the test gives."""

    def test_a_whole_rate_can_be_spent_at_once(self) -> None:
        """And then nothing is left, until a unit has come back."""
        budgets = MemoryBudgets()

        taken = [budgets.take("a", [Charge(A_SECOND, 1)], now=5.0)[0] for _ in range(11)]

        assert [budget.remaining for budget in taken] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
        assert [budget.refused for budget in taken] == [False] * 10 + [True]
        assert taken[-1].wait_seconds == pytest.approx(0.1)

    def test_units_come_back_one_by_one(self) -> None:
        """The tenth of a second of each is counted exactly, and no more than the rate comes back."""
        budgets = MemoryBudgets()
        budgets.take("a", [Charge(A_SECOND, 10)], now=5.0)

        assert left(budgets.take("a", [Charge(A_SECOND, 1)], now=5.099)) == [(0, True)]
        assert left(budgets.take("a", [Charge(A_SECOND, 1)], now=5.1)) == [(0, False)]
        assert left(budgets.take("a", [Charge(A_SECOND, 1)], now=99.0)) == [(9, False)]

    def test_what_is_refused_uses_up_nothing(self) -> None:
        """Of no rate of the request: a batch that is too large spoils no smaller one."""
        budgets = MemoryBudgets()
        budgets.take("a", [Charge(A_MINUTE, 50)], now=5.0)

        refused = budgets.take("a", [Charge(A_SECOND, 1), Charge(A_MINUTE, 11)], now=5.0)
        granted = budgets.take("a", [Charge(A_SECOND, 10), Charge(A_MINUTE, 10)], now=5.0)

        assert left(refused) == [(9, False), (10, True)]
        assert refused[1].wait_seconds == pytest.approx(1.0)
        assert left(granted) == [(0, False), (0, False)]

    def test_callers_do_not_share(self) -> None:
        """Each has its own rate."""
        budgets = MemoryBudgets()
        budgets.take("a", [Charge(A_SECOND, 10)], now=5.0)

        assert left(budgets.take("b", [Charge(A_SECOND, 10)], now=5.0)) == [(0, False)]

    def test_a_time_beyond_the_window_counts_as_its_end(self) -> None:
        """So nobody waits longer than a window."""
        budgets = MemoryBudgets()
        budgets.take("a", [Charge(A_SECOND, 10)], now=3_600.0)

        refused = budgets.take("a", [Charge(A_SECOND, 1)], now=5.0)

        assert left(refused) == [(0, True)]
        assert refused[0].wait_seconds == pytest.approx(0.1)

    def test_memory_is_bounded(self) -> None:
        """Callers whose rates are whole are forgotten, and the first ones of too many."""
        budgets = MemoryBudgets(callers_max=2_000)
        for number in range(5_000):
            budgets.take(f"{number}", [Charge(A_MINUTE, 60)], now=number / 1_000)

        assert left(budgets.take("4999", [Charge(A_MINUTE, 1)], now=5.0)) == [(0, True)]
        assert left(budgets.take("0", [Charge(A_MINUTE, 1)], now=5.0)) == [(59, False)]
        assert len(budgets._whole_at) <= 2_001

    @given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 12)), max_size=60), st.integers(1, 12))
    def test_never_more_than_the_rate_and_what_came_back(self, requests: list[tuple[float, int]], quota: int) -> None:
        """In any stretch of time, granted units are at most the quota and those of the time itself."""
        budgets, rate, now = MemoryBudgets(), Rate("requests", quota, 1), 100.0
        granted: list[tuple[float, int]] = []
        for pause, units in requests:
            now += pause
            (budget,) = budgets.take("a", [Charge(rate, units)], now=now)
            assert 0 <= budget.remaining <= quota
            if not budget.refused:
                granted.append((now, units))

        for begin, _ in granted:
            for end, _ in granted:
                within = sum(units for at, units in granted if begin <= at <= end)
                assert begin > end or within <= quota + (end - begin) * quota + 1e-3


@needs_redis
class TestRedis:
    """The budgets that processes share."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        """Run a Redis."""
        with redis_server() as server:
            yield server

    @pytest.fixture
    async def two(self, server: RedisServer) -> AsyncIterator[tuple[RedisBudgets, RedisBudgets]]:
        """Yield the budgets of two processes."""
        both = RedisBudgets(server.url, answer_seconds=60.0), RedisBudgets(server.url, answer_seconds=60.0)
        yield both
        for each in both:
            await each.close()

    async def test_processes_count_together(self, two: tuple[RedisBudgets, RedisBudgets]) -> None:
        """One uses up the rate of the other."""
        first, second = two
        charge = [Charge(AN_HOUR, 2)]

        taken = [await budgets.take("a", charge) for budgets in (first, second, first)]

        assert [left(each) for each in taken] == [[(2, False)], [(0, False)], [(0, True)]]
        assert 7_000 < taken[-1][0].wait_seconds <= 7_200
        assert left(await second.take("b", charge)) == [(2, False)]

    async def test_requests_at_the_same_time_are_counted_one_by_one(
        self, two: tuple[RedisBudgets, RedisBudgets]
    ) -> None:
        """Of a hundred requests of two processes, exactly as many as the rate has are granted."""
        rate = Rate("hours", 30, 86_400)

        taken = await asyncio.gather(*(each.take("a", [Charge(rate, 1)]) for each in two for _ in range(50)))

        assert sum(not budgets[0].refused for budgets in taken) == 30

    async def test_what_is_refused_uses_up_nothing(self, two: tuple[RedisBudgets, RedisBudgets]) -> None:
        """Of no rate of the request."""
        budgets, _ = two
        days = Rate("days", 100, 86_400)
        await budgets.take("a", [Charge(AN_HOUR, 3)])

        refused = await budgets.take("a", [Charge(days, 1), Charge(AN_HOUR, 2)])
        granted = await budgets.take("a", [Charge(days, 100), Charge(AN_HOUR, 1)])

        assert left(refused) == [(99, False), (1, True)]
        assert left(granted) == [(0, False), (0, False)]

    async def test_a_key_ends_with_its_window(self, two: tuple[RedisBudgets, RedisBudgets]) -> None:
        """So a Redis holds no callers who have gone."""
        budgets, _ = two
        await budgets.take("a", [Charge(AN_HOUR, 1)])

        milliseconds = await budgets._redis.pttl("payment-ledger:{a}:hours")

        assert 3_500_000 < milliseconds <= 3_600_000

    async def test_a_time_of_a_clock_that_was_set_counts_as_the_end_of_the_window(
        self, two: tuple[RedisBudgets, RedisBudgets]
    ) -> None:
        """A Redis whose clock was ahead stops nobody for longer than a window."""
        budgets, _ = two
        await budgets._redis.set("payment-ledger:{a}:requests", "99999999999.0")

        (refused,) = await budgets.take("a", [Charge(A_SECOND, 1)])

        assert refused.refused
        assert refused.wait_seconds <= 0.1

    async def test_a_redis_that_is_away_stops_nobody(
        self, server: RedisServer, two: tuple[RedisBudgets, RedisBudgets]
    ) -> None:
        """Each process counts by itself, the log says so once, and says when it is over."""
        first, second = two
        await first.take("a", [Charge(AN_HOUR, 4)])

        with capture_logs() as lines:
            server.end()
            away = [await first.take("a", [Charge(AN_HOUR, 3)]) for _ in range(2)]
            alone = await second.take("a", [Charge(AN_HOUR, 4)])
            server.start()
            first._ask_again_at = 0.0
            back = await first.take("a", [Charge(AN_HOUR, 4)])

        assert [left(each) for each in away] == [[(1, False)], [(1, True)]]
        assert left(alone) == [(0, False)]
        assert left(back) == [(0, False)]
        assert [line["event"] for line in lines] == ["limits_interrupted", "limits_interrupted", "limits_goes_on"]

    async def test_a_redis_that_hangs_is_not_waited_for(self, server: RedisServer) -> None:
        """Its kernel still takes connections."""
        budgets = RedisBudgets(server.url)

        with suspended(server.pid), capture_logs() as lines:
            taken = await budgets.take("a", [Charge(AN_HOUR, 4)])

        await budgets.close()
        assert left(taken) == [(0, False)]
        assert [line["event"] for line in lines] == ["limits_interrupted"]

    async def test_wrong_values_in_it_stop_nobody(self, two: tuple[RedisBudgets, RedisBudgets]) -> None:
        """A program that uses the same names."""
        budgets, _ = two
        await budgets._redis.lpush("payment-ledger:{a}:hours", "rubbish")

        assert left(await budgets.take("a", [Charge(AN_HOUR, 4)])) == [(0, False)]
