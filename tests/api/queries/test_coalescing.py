"""Coalesced queries: few queries for many readers, the right row for each, and errors for all waiting readers."""

import asyncio
from collections.abc import Mapping

import pytest

from api.errors import ReadsBusy
from api.queries import coalescing
from api.queries.coalescing import QueryCoalescer
from ledger.errors import DatabaseUnavailable

pytestmark = pytest.mark.anyio


class Store:
    """Answers queries once it is allowed to, and records their ids."""

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
    """Return a store that holds its answers back."""
    return Store()


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_ids_are_coalesced_while_a_query_runs(store: Store) -> None:
    """The first id is read at once, and all others together in the next query, each id once."""
    gathering = QueryCoalescer(store.fetch)

    first = asyncio.create_task(gathering.get(1))
    await settle()
    others = [asyncio.create_task(gathering.get(identifier)) for identifier in (2, 3, 2, 1)]
    await settle()
    store.let.set()

    assert await first == "row 1"
    assert await asyncio.gather(*others) == ["row 2", "row 3", "row 2", "row 1"]
    assert store.asked == [[1], [2, 3, 1]]


async def test_a_missing_row_is_none(store: Store) -> None:
    """Each reader that asked for it gets None."""
    store.let.set()
    gathering = QueryCoalescer(store.fetch)

    rows = await asyncio.gather(*(gathering.get(identifier) for identifier in (1000, 1)))

    assert rows == [None, "row 1"]


async def test_a_query_has_a_maximum_of_ids(store: Store) -> None:
    """The remaining ids are read by the next query."""
    store.let.set()
    gathering = QueryCoalescer(store.fetch, keys_max=2)

    rows = await asyncio.gather(*(gathering.get(identifier) for identifier in range(5)))

    assert rows == [f"row {identifier}" for identifier in range(5)]
    assert store.asked == [[0, 1], [2, 3], [4]]


async def test_readers_above_the_maximum_are_refused(store: Store) -> None:
    """Once the others have their answers, new readers are accepted again."""
    gathering = QueryCoalescer(store.fetch, waiting_max=2)
    tasks = [asyncio.create_task(gathering.get(1))]
    await settle()
    tasks += [asyncio.create_task(gathering.get(identifier)) for identifier in (1, 2)]
    await settle()

    with pytest.raises(ReadsBusy):
        await gathering.get(3)
    store.let.set()
    await asyncio.gather(*tasks)

    assert await gathering.get(3) == "row 3"


async def test_an_error_reaches_only_the_waiting_readers(store: Store) -> None:
    """The next readers get a query of their own."""
    gathering = QueryCoalescer(store.fetch)
    store.error = OSError("gone")
    store.let.set()

    answers = await asyncio.gather(*(gathering.get(identifier) for identifier in (1, 2)), return_exceptions=True)
    store.error = None

    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert await gathering.get(1) == "row 1"


async def test_a_reader_whose_time_is_over_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is unavailable for that reader; the query goes on for the others."""
    monkeypatch.setattr(coalescing, "seconds_left", lambda: 0.0)
    gathering = QueryCoalescer(store.fetch)
    with pytest.raises(DatabaseUnavailable):
        await gathering.get(1)
    monkeypatch.undo()

    patient = asyncio.create_task(gathering.get(2))
    await settle()
    store.let.set()

    assert await patient == "row 2"


async def test_a_cancelled_reader_does_not_cancel_others(store: Store) -> None:
    """Other readers of the same id still get the row."""
    gathering = QueryCoalescer(store.fetch)
    impatient = asyncio.create_task(gathering.get(1))
    patient = asyncio.create_task(gathering.get(1))
    await settle()

    impatient.cancel()
    await settle()
    store.let.set()

    assert await patient == "row 1"


async def test_closing_cancels_waiting_readers(store: Store) -> None:
    """Both the readers of the running query and the queued ones are cancelled."""
    gathering = QueryCoalescer(store.fetch)
    tasks = [asyncio.create_task(gathering.get(1))]
    await settle()
    tasks.append(asyncio.create_task(gathering.get(2)))
    await settle()

    await gathering.close()
    await settle()

    assert [task.cancelled() for task in tasks] == [True, True]


async def test_closing_an_idle_one_is_allowed(store: Store) -> None:
    """Closing an idle one has nothing to cancel."""
    await QueryCoalescer(store.fetch).close()
