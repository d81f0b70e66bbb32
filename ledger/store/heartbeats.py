"""Heartbeats show which parts of the service are alive: one row for each running instance, deleted by a clean stop.

Workers and projectors update their row every few seconds on a connection that they already have. Health is judged by
the age of the rows on the database's clock. A killed instance leaves its row, and a later instance of the part deletes
it.
"""

import os
import secrets
import socket
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg
from msgspec import Struct

from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "heartbeats.sql")

DEAD_KEPT: Final = timedelta(hours=1)
"""How long the row of a killed instance stays visible to operators."""

FRESH: Final = timedelta(seconds=10)
"""The age below which the last heartbeat of a part says that it lives. Parts beat every two seconds."""

Part = Literal["worker", "projector"]

PARTS: Final[tuple[Part, ...]] = ("worker", "projector")
"""The parts that beat."""


def new_instance() -> str:
    """Return a unique name for this process: host, process id and, because containers may share both, a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Heartbeat(Struct, frozen=True):
    """The heartbeat of one instance of a part. All methods raise psycopg.Error when the database cannot be reached.

    The methods that end in `_async` do the same on an event loop.
    """

    part: Part
    instance: str

    def start(self, connection: psycopg.Connection[Any]) -> None:
        """Beat for the first time, and delete the old rows of killed instances."""
        connection.execute(SQL["delete_dead"], {"part": self.part, "kept": DEAD_KEPT, "fresh": FRESH})
        self.beat(connection)

    def beat(self, connection: psycopg.Connection[Any]) -> None:
        """Record that the instance is alive."""
        connection.execute(SQL["beat"], {"part": self.part, "instance": self.instance}, prepare=True)

    def stop(self, connection: psycopg.Connection[Any]) -> None:
        """Delete the instance's row after a clean stop."""
        connection.execute(SQL["delete_own"], {"part": self.part, "instance": self.instance})

    async def start_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Beat for the first time, and delete the old rows of killed instances."""
        await connection.execute(SQL["delete_dead"], {"part": self.part, "kept": DEAD_KEPT, "fresh": FRESH})
        await self.beat_async(connection)

    async def beat_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Record that the instance is alive."""
        await connection.execute(SQL["beat"], {"part": self.part, "instance": self.instance}, prepare=True)

    async def stop_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Delete the instance's row after a clean stop."""
        await connection.execute(SQL["delete_own"], {"part": self.part, "instance": self.instance})
