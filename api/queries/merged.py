"""Lists and sums over all partitions of a ledger: asked of all of them at once, and merged.

Each partition has its list in an order of its own, by ids or by positions, which is the order of time in it. Lists are
merged by time, and a partition's own order is kept. The clocks of two databases may differ, so a merged list is only
about by time. No partition can be left out: while one does not answer, the list or the sum is refused.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from msgspec import Struct

from api.queries.pool import ReadPool
from ledger.store.migrate import SQL as MIGRATE

DONE: Final = 0
"""The place in a list behind its last item: every item has a higher one."""

READ_ON_MAX: Final = 1_000
"""How many of the items that a page by offset leaves out are read and dropped. The database counts off the others."""

RowT = TypeVar("RowT")
KeyT = TypeVar("KeyT")


class TimedPlace(NamedTuple):
    """A place in a partition's list, which falls from item to item, and the time of the item there."""

    place: int
    at: datetime


class Section(Struct, Generic[RowT], frozen=True):
    """The part of a partition's list that a page was looked for in.

    `rows` are the items found, newest first. `rest` is where the last item is that was looked at, when the list goes on
    behind it; None at the list's end.
    """

    rows: Sequence[RowT]
    rest: TimedPlace | None


def merge(
    sections: Sequence[Section[RowT]], *, limit: int, place_of: Callable[[RowT], TimedPlace]
) -> tuple[list[RowT], list[int]]:
    """Merge the sections of all partitions to a page, newest first, and return the place in each where the next begins.

    The page ends where a section does: the partition may have newer items behind it than the others have. A partition
    of which nothing is on the page gets a place too, so that its items from after this page come on none. The
    places are all DONE at the end of the list.
    """
    taken = [0] * len(sections)
    rows: list[RowT] = []
    timed = [_timed(number, section, place_of) for number, section in enumerate(sections)]
    for _, number, is_row in heapq.merge(*timed, key=itemgetter(0), reverse=True):
        if not is_row or len(rows) == limit:
            break
        rows.append(sections[number].rows[taken[number]])
        taken[number] += 1
    return rows, [_place_after(section, count, place_of) for section, count in zip(sections, taken, strict=True)]


def _timed(
    number: int, section: Section[RowT], place_of: Callable[[RowT], TimedPlace]
) -> Iterator[tuple[datetime, int, bool]]:
    """Yield the time of each row with True, and that of the section's end with False."""
    for row in section.rows:
        yield place_of(row).at, number, True
    if section.rest is not None:
        yield section.rest.at, number, False


def _place_after(section: Section[RowT], taken: int, place_of: Callable[[RowT], TimedPlace]) -> int:
    if taken < len(section.rows):
        return place_of(section.rows[taken - 1]).place if taken else place_of(section.rows[0]).place + 1
    return DONE if section.rest is None else section.rest.place


async def page_by_offset(
    lists: Sequence[Callable[[int, int], Awaitable[Sequence[RowT]]]],
    *,
    offset: int,
    limit: int,
    at: Callable[[RowT], datetime],
) -> list[RowT]:
    """Return items of the merged lists behind the first `offset` ones; each list is read by an offset and a limit.

    A large offset is divided: of the items at the same distance in all lists, the newest one and everything before it
    in its list are left out. So no more than READ_ON_MAX items, or one for each partition, are read to be dropped.
    """
    if len(lists) == 1:
        return [*await lists[0](offset, limit)]
    starts = [0] * len(lists)
    while (left := offset - sum(starts)) > READ_ON_MAX and (step := left // len(lists)) > 0:
        reached = await asyncio.gather(*(read(start + step - 1, 1) for read, start in zip(lists, starts, strict=True)))
        found = [(at(rows[0]), -number) for number, rows in enumerate(reached) if rows]
        if not found:
            return []
        starts[-max(found)[1]] += step
    sections = await asyncio.gather(*(read(start, left + limit) for read, start in zip(lists, starts, strict=True)))
    return [*islice(heapq.merge(*sections, key=at, reverse=True), left, left + limit)]


def add_up(counted: Iterable[Mapping[KeyT, int]]) -> dict[KeyT, int]:
    """Add up the counts of all partitions, by name."""
    totals: dict[KeyT, int] = {}
    for counts in counted:
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    return totals


class LedgerId:
    """The id of the ledger that all partitions belong to. The first partition has it, and it never changes."""

    def __init__(self, pool: ReadPool) -> None:
        """Read it through the pool of the first partition."""
        self._pool = pool
        self._known: UUID | None = None

    async def read(self) -> UUID:
        """Return the id. Raises DatabaseUnavailable."""
        if self._known is None:
            ((own, _, _, group_id),) = await self._pool.rows(MIGRATE["read_identity"])
            self._known = UUID(str(group_id or own))
        return self._known
