"""How the API reads the database: a small pool of connections that survives a restart of Postgres.

A connection is tried before it is lent, so one that died with the server is replaced and no request sees it. While the
server is away, readers wait a moment and are then refused as unavailable; the pool tries anew for whoever comes next,
and so is back as soon as the server is.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg_pool import AsyncConnectionPool

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
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="reads",
        )

    async def open(self) -> None:
        """Begin to connect, without waiting for it: the service starts while the database is away too."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Raises DatabaseUnavailable, also when what is read on it takes too long."""
        try:
            async with asyncio.timeout(READ_SECONDS_MAX), self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
            raise DatabaseUnavailable from error

    async def rows(
        self, statement: LiteralString, parameters: Mapping[str, Any] | None = None, *, prepare: bool = True
    ) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows. Raises DatabaseUnavailable."""
        async with self.connection() as connection:
            cursor = await connection.execute(statement, parameters, prepare=prepare, binary=True)
            return await cursor.fetchall()
