"""How the service is: what health checks, `payment-ledger status` and operators look at.

One look at the database serves all who ask meanwhile, and none of them waits for it longer than a second: a database
that is gone or hangs is as good as an answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import psycopg
from msgspec import Struct

from api.reads import Connection, Reads
from ledger.errors import DatabaseUnavailable
from ledger.payment import LetterState
from ledger.sql import load_statements

SQL: Final = load_statements("api", "pulse.sql")

LOOK_SECONDS_MAX: Final = 1.0

FoundT = TypeVar("FoundT")


class ReadModelPulse(Struct, frozen=True, kw_only=True):
    """How far a group of read models has come; `lag` is how many events it is behind. It may have stopped, and why."""

    name: str
    position: int
    lag: int
    stopped_at_position: int | None
    stopped_because: str | None


class QueuePulse(Struct, frozen=True, kw_only=True):
    """How many payments wait for the gateway, and for how long the one that is due first has been due."""

    waiting: int
    oldest_due_seconds: float


class PartPulse(Struct, frozen=True, kw_only=True):
    """A worker or projector, and how long ago it last said that it runs."""

    part: str
    instance: str
    seen_seconds_ago: float


class Beat(Struct, frozen=True, kw_only=True):
    """What one look at the database has found; `withheld` says that the store is a copy that was not taken over."""

    position: int
    withheld: bool
    read_models: list[ReadModelPulse]
    gateway_queue: QueuePulse
    dead_letters: dict[LetterState, int]
    parts: list[PartPulse]

    @property
    def stopped(self) -> bool:
        """Whether a read model has stopped and needs an operator."""
        return any(model.stopped_at_position is not None for model in self.read_models)


class Pulse:
    """Feels the service's pulse."""

    def __init__(self, reads: Reads) -> None:
        """Look through `reads`."""
        self._beat = _Look(reads, _read_beat)
        self._position = _Look(reads, _read_position)

    async def feel(self) -> Beat | None:
        """Give what a look at the database finds; None when the database does not answer in time, or has no ledger."""
        return await self._beat.take()

    async def is_there(self) -> bool:
        """Tell whether the database answers in time and has a ledger, however much there is to count in it."""
        return await self._position.take() is not None

    async def close(self) -> None:
        """End the looks that are under way."""
        await self._beat.close()
        await self._position.close()


class _Look(Generic[FoundT]):
    """A look at the database that all share who ask for it while it is under way."""

    def __init__(self, reads: Reads, read: Callable[[Connection], Awaitable[FoundT]]) -> None:
        self._reads = reads
        self._read = read
        self._looking: asyncio.Task[FoundT | None] | None = None

    async def take(self) -> FoundT | None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        looking = self._looking  # another caller may have begun the next one by the time this one is told
        done, _ = await asyncio.wait({looking}, timeout=LOOK_SECONDS_MAX)
        return looking.result() if done else None

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look(self) -> FoundT | None:
        try:
            return await self._reads.read(self._read)
        except (DatabaseUnavailable, psycopg.Error):
            return None


async def _read_position(connection: Connection) -> int | None:
    row = await (await connection.execute(SQL["read_position"], prepare=True)).fetchone()
    return None if row is None else int(row[0])


async def _read_beat(connection: Connection) -> Beat:
    async with connection.pipeline():
        models = await connection.execute(SQL["read_read_models"])
        queue = await connection.execute(SQL["read_queue"])
        letters = await connection.execute(SQL["read_letters"])
        parts = await connection.execute(SQL["read_heartbeats"])
        position, withheld, waiting, oldest_due_seconds = (await queue.fetchall())[0]
        counts = dict(await letters.fetchall())
        return Beat(
            position=position,
            withheld=withheld,
            read_models=[_read_model(*row) async for row in models],
            gateway_queue=QueuePulse(waiting=waiting, oldest_due_seconds=oldest_due_seconds),
            dead_letters={
                "failed": counts.get("failed", 0),
                "in_doubt": counts.get("in_doubt", 0),
                "reconcile": counts.get("reconcile", 0),
            },
            parts=[
                PartPulse(part=part, instance=instance, seen_seconds_ago=ago) async for part, instance, ago in parts
            ],
        )


def _read_model(
    name: str, position: int, lag: int, stopped_at_position: int | None, stopped_because: str | None
) -> ReadModelPulse:
    return ReadModelPulse(
        name=name,
        position=position,
        lag=lag,
        stopped_at_position=stopped_at_position,
        stopped_because=stopped_because,
    )
