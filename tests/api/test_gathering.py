"""Gathered reads: few queries for many readers, the right row for each, and errors for all who wait."""

import asyncio
from collections.abc import Mapping

import pytest

from api.errors import ReadsBusy
from api.gathering import Gathering

pytestmark = pytest.mark.anyio


class Store:
    """Answers queries when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.let = asyncio.Event()
        self.error: Exception | None = None

    async def fetch(self, ids: list[int]) -> Mapping[int, str]:
        self.asked.append(ids)
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return {identifier: f"row {identifier}" for identifier in ids if identifier < 1000}


@pytest.fixture
async def store() -> Store:
    """Give a store that holds its answers back."""
    return Store()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_ids_gather_while_a_query_is_under_way(store: Store) -> None:
    """The first is read at once, all others together with the next query, each id once."""
    gathering = Gathering(store.fetch)

    first = asyncio.create_task(gathering.get(1))
    await settle()
    others = [asyncio.create_task(gathering.get(identifier)) for identifier in (2, 3, 2, 1)]
    await settle()
    store.let.set()

    assert await first == "row 1"
    assert await asyncio.gather(*others) == ["row 2", "row 3", "row 2", "row 1"]
    assert store.asked == [[1], [2, 3, 1]]


async def test_a_row_that_is_not_there_is_none(store: Store) -> None:
    """For each who asked for it."""
    store.let.set()
    gathering = Gathering(store.fetch)

    rows = await asyncio.gather(*(gathering.get(identifier) for identifier in (1000, 1)))

    assert rows == [None, "row 1"]


async def test_a_query_asks_for_so_many_ids_and_no_more(store: Store) -> None:
    """The rest comes with the next one."""
    store.let.set()
    gathering = Gathering(store.fetch, keys_max=2)

    rows = await asyncio.gather(*(gathering.get(identifier) for identifier in range(5)))

    assert rows == [f"row {identifier}" for identifier in range(5)]
    assert store.asked == [[0, 1], [2, 3], [4]]


async def test_beyond_so_many_waiting_readers_further_ones_are_refused(store: Store) -> None:
    """And when the others have their answers, there is room again."""
    gathering = Gathering(store.fetch, waiting_max=2)
    tasks = [asyncio.create_task(gathering.get(1))]
    await settle()
    tasks += [asyncio.create_task(gathering.get(identifier)) for identifier in (1, 2)]
    await settle()

    with pytest.raises(ReadsBusy):
        await gathering.get(3)
    store.let.set()
    await asyncio.gather(*tasks)

    assert await gathering.get(3) == "row 3"


async def test_an_error_reaches_all_who_wait_and_nobody_else(store: Store) -> None:
    """The next readers have a query of their own."""
    gathering = Gathering(store.fetch)
    store.error = OSError("gone")
    store.let.set()

    answers = await asyncio.gather(*(gathering.get(identifier) for identifier in (1, 2)), return_exceptions=True)
    store.error = None

    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert await gathering.get(1) == "row 1"


async def test_a_reader_that_goes_away_takes_nobody_with_him(store: Store) -> None:
    """Others who asked for the same id still get it."""
    gathering = Gathering(store.fetch)
    impatient = asyncio.create_task(gathering.get(1))
    patient = asyncio.create_task(gathering.get(1))
    await settle()

    impatient.cancel()
    await settle()
    store.let.set()

    assert await patient == "row 1"


async def test_closing_cancels_who_still_waits(store: Store) -> None:
    """Both those of the query under way and those behind it."""
    gathering = Gathering(store.fetch)
    tasks = [asyncio.create_task(gathering.get(1))]
    await settle()
    tasks.append(asyncio.create_task(gathering.get(2)))
    await settle()

    await gathering.close()
    await settle()

    assert [task.cancelled() for task in tasks] == [True, True]


async def test_closing_one_that_does_nothing_is_fine(store: Store) -> None:
    """There is nothing to stop."""
    await Gathering(store.fetch).close()
