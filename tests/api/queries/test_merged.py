"""Merged lists, held against plain lists in memory: complete, without doubles, and in order where the clocks agree."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.cursors import PLACE_MAX, read_merged_cursor, write_merged_cursor
from api.queries import merged
from api.queries.merged import DONE, Section, TimedPlace, add_up, merge, page_by_offset
from tests.support.seeds import START

PARTITIONS: Final = 4
LEDGER: Final = UUID(int=7)
SKEW_SECONDS_MAX: Final = 5


class Item(NamedTuple):
    """An item of a partition's list: its number there, the time that the partition's clock showed, and its colour."""

    partition: int
    number: int
    seconds: int
    red: bool


class Lists:
    """The lists of all partitions in memory, each with a clock of its own, and pages over them."""

    def __init__(self, skews: Sequence[int], scanned_max: int) -> None:
        self.items: list[list[Item]] = [[] for _ in skews]
        self._skews = skews
        self._scanned_max = scanned_max
        self._seconds = 0

    def add(self, partition: int, *, red: bool, later: int) -> None:
        """Add an item to a partition, some seconds after the last one of all."""
        self._seconds += later
        own = self.items[partition]
        own.append(Item(partition, len(own) + 1, self._seconds + self._skews[partition], red))

    def section(self, partition: int, before: int, limit: int, *, only_red: bool) -> Section[Item]:
        """Look for items as a partition's statements do: in some rows at most, and one more than the limit."""
        scanned = [item for item in reversed(self.items[partition]) if item.number < before]
        more, scanned = scanned[self._scanned_max :], scanned[: self._scanned_max]
        found = [item for item in scanned if item.red or not only_red]
        if len(found) > limit:
            return Section(found[:limit], placed(found[limit - 1]))
        return Section(found, placed(scanned[-1]) if more else None)

    def page(self, cursor: str | None, *, limit: int, only_red: bool) -> tuple[list[Item], str | None]:
        """Read a page, and the cursor of the next one."""
        places: Sequence[int] = [PLACE_MAX] * PARTITIONS
        if cursor is not None:
            places = read_merged_cursor(cursor, "items", {}, partitions=PARTITIONS, ledger_id=LEDGER)
        sections = [self.section(number, place, limit, only_red=only_red) for number, place in enumerate(places)]
        rows, after = merge(sections, limit=limit, place_of=placed)
        done = all(place == DONE for place in after)
        return rows, None if done else write_merged_cursor("items", {}, after, ledger_id=LEDGER)


def placed(item: Item) -> TimedPlace:
    return TimedPlace(item.number, START + timedelta(seconds=item.seconds))


addition: Final = st.tuples(st.integers(0, PARTITIONS - 1), st.booleans(), st.integers(0, 3))
"""A partition, whether the item is red, and how many seconds it comes after the last one."""


@given(
    before=st.lists(addition, max_size=8) | st.lists(addition, min_size=12, max_size=40),
    between=st.lists(st.lists(addition, max_size=6), max_size=12),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    skews=st.just([0] * PARTITIONS)
    | st.lists(st.integers(0, SKEW_SECONDS_MAX), min_size=PARTITIONS, max_size=PARTITIONS),
    only_red=st.booleans(),
    scanned_max=st.integers(1, 3),
)
def test_pages_list_what_there_was_at_the_first_once_while_more_comes(
    *,
    before: list[tuple[int, bool, int]],
    between: list[list[tuple[int, bool, int]]],
    limits: list[int],
    skews: list[int],
    only_red: bool,
    scanned_max: int,
) -> None:
    """With any clocks nothing is left out, nothing comes twice, and each partition's order is kept.

    Where the clocks agree, the whole list is newest first. With a filter, pages look at a limited number of rows.
    """
    lists = Lists(skews, scanned_max if only_red else PLACE_MAX)
    for partition, red, later in before:
        lists.add(partition, red=red, later=later)
    expected = {item for own in lists.items for item in own if item.red or not only_red}

    listed: list[Item] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        limit = limits[pages % len(limits)]
        rows, cursor = lists.page(cursor, limit=limit, only_red=only_red)
        assert len(rows) <= limit
        listed += rows
        for partition, red, later in between[pages] if pages < len(between) else []:
            lists.add(partition, red=red, later=later)
        pages += 1
        assert pages <= len(before) + 1, "each page gets further in a partition"

    assert len(listed) == len({*listed})
    assert {*listed} == expected
    for partition in range(PARTITIONS):
        numbers = [item.number for item in listed if item.partition == partition]
        assert numbers == sorted(numbers, reverse=True)
    if len({*skews}) == 1:
        times = [item.seconds for item in listed]
        assert times == sorted(times, reverse=True)


def reader(own: list[Item], read: list[int]) -> Callable[[int, int], "asyncio.Future[list[Item]]"]:
    """Read a list newest first by offset and limit, and note how many items were read."""

    def read_page(offset: int, limit: int) -> "asyncio.Future[list[Item]]":
        found = own[::-1][offset : offset + limit]
        read.append(len(found))
        future: asyncio.Future[list[Item]] = asyncio.get_running_loop().create_future()
        future.set_result(found)
        return future

    return read_page


@given(
    added=st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.integers(0, 2)), max_size=60),
    offset=st.integers(0, 70),
    limit=st.integers(1, 10),
    dropped_max=st.sampled_from([0, 1, 5, 1_000]),
)
def test_a_page_by_offset_is_that_of_the_whole_list(
    added: list[tuple[int, int]], offset: int, limit: int, dropped_max: int
) -> None:
    """However many items it leaves out; only a few of them are read."""
    lists = Lists([0] * PARTITIONS, PLACE_MAX)
    for partition, later in added:
        lists.add(partition, red=True, later=later)
    whole = sorted(
        (item for own in lists.items for item in own), key=lambda item: (-item.seconds, item.partition, -item.number)
    )
    read: list[int] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged, "READ_ON_MAX", dropped_max)
        page = asyncio.run(
            page_by_offset(
                [reader(own, read) for own in lists.items], offset=offset, limit=limit, at=lambda item: placed(item).at
            )
        )

    assert page == whole[offset : offset + limit]
    if page:
        assert sum(read[-PARTITIONS:]) <= PARTITIONS * (max(dropped_max, PARTITIONS) + limit)


def test_a_deep_page_counts_off_most_of_the_list() -> None:
    """A hundred thousand letters are left out in a few dozen steps."""
    lists = Lists([0] * PARTITIONS, PLACE_MAX)
    for n in range(100_000):
        lists.add(n * n % PARTITIONS, red=True, later=1)
    read: list[int] = []
    readers = [reader(own, read) for own in lists.items]

    page = asyncio.run(page_by_offset(readers, offset=90_000, limit=5, at=lambda item: placed(item).at))

    assert [item.seconds for item in page] == [10_000, 9_999, 9_998, 9_997, 9_996]
    assert len(read) < 60 * PARTITIONS
    assert sum(read) < 10_000


def test_counts_are_added_by_name() -> None:
    """A name that only one partition has is among them."""
    assert add_up([{"a": 1, "b": 2}, {}, {"b": 3, "c": 4}]) == {"a": 1, "b": 5, "c": 4}
