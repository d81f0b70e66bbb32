"""Reads by key that share their queries: while one is under way, the keys that are asked for gather for the next.

Sixty-four clients that read one payment each cost one query for all of them, not one each. Nobody waits on purpose: a
key that comes when nothing is under way is read at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

from api.errors import ReadsBusy

KEYS_MAX: Final = 500
"""How many keys one query asks for at most."""

WAITING_MAX: Final = 10_000
"""How many callers may wait; further ones are refused."""

KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT")


class Gathering(Generic[KeyT, RowT]):
    """Gathers keys, such as ids, for `fetch`, which gives what exists by its key."""

    def __init__(
        self,
        fetch: Callable[[list[KeyT]], Awaitable[Mapping[KeyT, RowT]]],
        *,
        keys_max: int = KEYS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """Start with nothing under way."""
        self._fetch = fetch
        self._keys_max = keys_max
        self._waiting_max = waiting_max
        self._waiting: dict[KeyT, list[asyncio.Future[RowT | None]]] = {}
        self._waiting_count = 0
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: KeyT) -> RowT | None:
        """Give what a key stands for, as it was committed when this was called or later; None when there is none.

        Raises what `fetch` raises, and ReadsBusy.
        """
        if self._waiting_count >= self._waiting_max:
            raise ReadsBusy
        future: asyncio.Future[RowT | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        self._waiting_count += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await future

    async def close(self) -> None:
        """Stop reading; who still waits is cancelled."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to all who wait
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
