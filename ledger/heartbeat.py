"""Says that a part of the service is alive: one row for each running instance, gone after a clean stop.

Workers and projectors beat every few seconds on a connection that they have anyway; health is read from the rows' age,
on the database's clock. An instance that was killed leaves its row, which the part's later instances clear away.
"""

import os
import secrets
import socket
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg
from msgspec import Struct

from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "heartbeat.sql")

DEAD_KEPT: Final = timedelta(hours=1)
"""How long the row of an instance that was killed stays to be seen."""

Part = Literal["worker", "projector"]


def new_instance() -> str:
    """Name this process among all on all machines: by host, process, and a random part where containers share both."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Heartbeat(Struct, frozen=True):
    """The heartbeat of one instance of a part. All methods raise psycopg.Error when the database is away.

    Those that end in `_async` do the same from an event loop.
    """

    part: Part
    instance: str

    def start(self, connection: psycopg.Connection[Any]) -> None:
        """Beat for the first time, and clear away what instances that were killed have left."""
        connection.execute(SQL["forget_dead"], {"part": self.part, "kept": DEAD_KEPT})
        self.beat(connection)

    def beat(self, connection: psycopg.Connection[Any]) -> None:
        """Say that the instance is alive."""
        connection.execute(SQL["beat"], {"part": self.part, "instance": self.instance}, prepare=True)

    def stop(self, connection: psycopg.Connection[Any]) -> None:
        """Say that the instance has stopped as it should."""
        connection.execute(SQL["rest"], {"part": self.part, "instance": self.instance})

    async def start_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Beat for the first time, and clear away what instances that were killed have left."""
        await connection.execute(SQL["forget_dead"], {"part": self.part, "kept": DEAD_KEPT})
        await self.beat_async(connection)

    async def beat_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Say that the instance is alive."""
        await connection.execute(SQL["beat"], {"part": self.part, "instance": self.instance}, prepare=True)

    async def stop_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Say that the instance has stopped as it should."""
        await connection.execute(SQL["rest"], {"part": self.part, "instance": self.instance})
