"""How the API reads the database: a small pool of connections that survives a restart of Postgres.

When a connection turns out to have died with its server, all others are looked at too, and the read is made once more:
reading twice does no harm, and trying each connection before each read would cost as much as a short read. While the
server is away, readers wait a moment and are then refused as unavailable; the pool tries anew for whoever comes next,
and so is back as soon as the server is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from ledger.database import Database
from ledger.errors import DatabaseUnavailable

CONNECTIONS_MAX: Final = 8
WAITING_MAX: Final = 1_000
CONNECTION_WAIT_SECONDS: Final = 2.0
READ_SECONDS_MAX: Final = 10.0

_RECONNECT_SECONDS: Final = 0.5
"""How long the pool goes on trying by itself. Not long: its pauses grow, and the next reader makes it try again."""

_SESSION: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": f"{READ_SECONDS_MAX:g}s",
    # Every statement here has an index to go by. A plan that was made while a table was empty would scan it for ever.
    "enable_seqscan": "off",
    "jit": "off",
}

Connection = psycopg.AsyncConnection[Any]
Row = tuple[Any, ...]
ResultT = TypeVar("ResultT")

_LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)


class Reads:
    """Reads of one partition of the ledger."""

    def __init__(self, database: Database) -> None:
        """Prepare the pool; nothing is connected before `open`."""
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            database.conninfo(application="payment-ledger api", options=_SESSION),
            kwargs={"autocommit": True},
            min_size=2,
            max_size=CONNECTIONS_MAX,
            max_waiting=WAITING_MAX,
            timeout=CONNECTION_WAIT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
            name="reads",
        )

    async def open(self) -> None:
        """Begin to connect, without waiting for it: the service starts while the database is away too."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def read(self, function: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
        """Call a function that reads, with a connection; once more, when that was lost.

        Raises DatabaseUnavailable, also when it takes too long.
        """
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                try:
                    return await self._read_once(function)
                except (PoolTimeout, TooManyRequests):
                    raise
                except _LOST:
                    await self._pool.check()
                    return await self._read_once(function)
        except (*_LOST, TimeoutError) as error:
            raise DatabaseUnavailable from error

    async def rows(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement and give its rows. Raises DatabaseUnavailable."""

        async def fetch(connection: Connection) -> list[Row]:
            cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
            return await cursor.fetchall()

        return await self.read(fetch)

    async def _read_once(self, function: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
        async with self._pool.connection() as connection:
            return await function(connection)
