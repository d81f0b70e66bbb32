"""Coalesces reads by key: while one query runs, newly requested keys wait and share the next query.

So 64 clients that read one payment each cost one query in all, not 64. Nothing is delayed on purpose: a key that is
requested while no query runs is read at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import Context
from typing import Final, Generic, TypeVar

from api.errors import ReadsBusy
from api.http.deadlines import FutureDeadlines, seconds_left
from ledger.errors import DatabaseUnavailable

KEYS_MAX: Final = 500
"""The most keys that one query reads."""

WAITING_MAX: Final = 10_000
"""The most callers that may wait; further callers get ReadsBusy."""

KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT")


class QueryCoalescer(Generic[KeyT, RowT]):
    """Collects keys, such as ids, for `fetch`, which returns the rows that exist by their keys."""

    def __init__(
        self,
        fetch: Callable[[list[KeyT]], Awaitable[Mapping[KeyT, RowT]]],
        *,
        keys_max: int = KEYS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """Prepare to call `fetch` with at most `keys_max` keys, for at most `waiting_max` waiting callers."""
        self._fetch = fetch
        self._keys_max = keys_max
        self._waiting_max = waiting_max
        self._waiting: dict[KeyT, list[asyncio.Future[RowT | None]]] = {}
        self._waiting_count = 0
        self._deadlines = FutureDeadlines()
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: KeyT) -> RowT | None:
        """Read the row of a key, as committed at the time of this call or later; None when it does not exist.

        Raises ReadsBusy, DatabaseUnavailable after the deadline of the request, and the errors of `fetch`.
        """
        if self._waiting_count >= self._waiting_max:
            raise ReadsBusy
        future: asyncio.Future[RowT | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        self._waiting_count += 1
        if self._reading is None:
            # In a context of its own: the query does not belong to the request that happens to come first.
            self._reading = asyncio.create_task(self._read(), context=Context())
        self._deadlines.add(future, within_seconds=seconds_left())
        try:
            return await future
        except TimeoutError:
            raise DatabaseUnavailable from None

    async def close(self) -> None:
        """End the running query, and cancel the waiting callers."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        for futures in self._waiting.values():
            _cancel(futures)
        self._waiting.clear()

    async def _read(self) -> None:
        taken: dict[KeyT, list[asyncio.Future[RowT | None]]] = {}
        try:
            while self._waiting:
                taken = self._take()
                await self._read_one(taken)
        finally:
            self._reading = None
            for futures in taken.values():
                _cancel(futures)

    async def _read_one(self, taken: Mapping[KeyT, list[asyncio.Future[RowT | None]]]) -> None:
        try:
            rows = await self._fetch(list(taken))
        except Exception as error:  # noqa: BLE001 - all callers of this query get its error
            for future in _open(taken):
                future.set_exception(error)
        else:
            for key, futures in taken.items():
                row = rows.get(key)
                for future in futures:
                    if not future.done():
                        future.set_result(row)

    def _take(self) -> dict[KeyT, list[asyncio.Future[RowT | None]]]:
        if len(self._waiting) <= self._keys_max:
            taken, self._waiting = self._waiting, {}
        else:
            taken = {key: self._waiting.pop(key) for key in list(self._waiting)[: self._keys_max]}
        self._waiting_count -= sum(map(len, taken.values()))
        return taken


def _open(taken: Mapping[KeyT, list[asyncio.Future[RowT]]]) -> list[asyncio.Future[RowT]]:
    return [future for futures in taken.values() for future in futures if not future.done()]


def _cancel(futures: list[asyncio.Future[RowT]]) -> None:
    for future in futures:
        future.cancel()
