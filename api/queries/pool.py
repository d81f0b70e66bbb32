"""The API's pool of database connections, which survives a restart of Postgres.

When a read fails because its connection was lost, the pool checks all other connections too and repeats the read once:
a repeated read does no harm, and testing each connection before each read would cost as much as a short read. While the
server cannot be reached, readers wait up to 2 s and then get DatabaseUnavailable. Each further read makes the pool try
to connect again, so it recovers as soon as the server does. A server that hangs is noticed by the process itself
(`ledger.sessions.answer_limit`): to cancel the read would wait for the server, too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, LiteralString, TypeVar

import psycopg
import structlog
from psycopg.errors import QueryCanceled
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from api.http.deadlines import seconds_left
from ledger.errors import DatabaseUnavailable
from ledger.outages import LineBudget
from ledger.sessions.answer_limit import answer_within
from ledger.store.database import BY_INDEX, Database

CONNECTIONS_MAX: Final = 8
WAITING_MAX: Final = 1_000
CONNECTION_WAIT_SECONDS: Final = 2.0
ANSWER_SECONDS_MAX: Final = 4.0
"""How long the server may take for one read, before the connection is cut. Longer than its own limit on a statement."""

STATEMENT_SECONDS_MAX: Final = 3.5

SLOW_QUERY_SECONDS: Final = 1.0
"""A read that takes longer is logged. The function that reads is named, and never a value."""

_STATEMENT_CHARACTERS_MAX: Final = 120
"""How much of a slow statement is logged; it names its parameters and has no values."""

_CHECK_SECONDS_MAX: Final = 1.0
"""How long the server may take to show that an idle connection is alive, and how long all of them together may take."""


_RECONNECT_SECONDS: Final = 0.5
"""How long the pool retries on its own. It is short, because the pauses grow and the next reader makes it try again."""

_SESSION: Final = {
    **BY_INDEX,
    "default_transaction_read_only": "on",
    "statement_timeout": f"{STATEMENT_SECONDS_MAX:g}s",
    "jit": "off",
    # A page with filters is planned for its filters, also where the server plans statements once.
    "plan_cache_mode": "auto",
}

Connection = psycopg.AsyncConnection[Any]
Row = tuple[Any, ...]
ResultT = TypeVar("ResultT")

_log = structlog.get_logger()

_LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)


class ReadPool:
    """Runs reads of one partition of the ledger."""

    def __init__(self, database: Database) -> None:
        """Prepare the pool; `open` connects."""
        self._lines = LineBudget()
        self._pool = _Pool(
            database.conninfo(application="payment-ledger api", options=_SESSION),
            kwargs={"autocommit": True},
            configure=database.async_prover(options=_SESSION),
            min_size=2,
            max_size=CONNECTIONS_MAX,
            max_waiting=WAITING_MAX,
            timeout=CONNECTION_WAIT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
            name="reads",
        )

    async def open(self) -> None:
        """Begin to connect, without waiting: the service also starts while the database cannot be reached."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def stats(self) -> dict[str, int]:
        """Return the pool's own figures, by the names of psycopg_pool."""
        return self._pool.get_stats()

    async def read(
        self,
        function: Callable[[Connection], Awaitable[ResultT]],
        *,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> ResultT:
        """Call a function that reads, with a connection; call it again once when the connection was lost.

        `answer_seconds_max` is how long the server may take, for a function that sets the limit of its statements
        itself. Raises DatabaseUnavailable, also when the read takes longer than the request has left.
        """
        until = time.monotonic() + seconds_left()
        try:
            try:
                return await self._read_once(function, until, answer_seconds_max)
            except (PoolTimeout, TooManyRequests, QueryCanceled):
                raise
            except _LOST:
                await self._pool.check_within(max(0.0, min(_CHECK_SECONDS_MAX, until - time.monotonic())))
                return await self._read_once(function, until, answer_seconds_max)
        except _LOST as error:
            raise DatabaseUnavailable from error

    async def rows(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement and return its rows. Raises DatabaseUnavailable."""
        return await self.read(_Fetch(statement, parameters))

    async def _read_once(
        self, function: Callable[[Connection], Awaitable[ResultT]], until: float, answer_seconds_max: float
    ) -> ResultT:
        left = max(0.0, until - time.monotonic())
        async with self._pool.connection(timeout=min(CONNECTION_WAIT_SECONDS, left)) as connection:
            left = max(0.0, min(answer_seconds_max, until - time.monotonic()))
            began = time.monotonic()
            try:
                with answer_within(connection, left):
                    return await function(connection)
            finally:
                self._tell_if_slow(function, time.monotonic() - began)

    def _tell_if_slow(self, function: Callable[..., object], took_seconds: float) -> None:
        if took_seconds > SLOW_QUERY_SECONDS and (unsaid := self._lines.take(time.monotonic())) is not None:
            _log.warning("slow_query", query=_name_of(function), took_seconds=round(took_seconds, 3), unsaid=unsaid)


class _Fetch:
    """Reads the rows of one statement."""

    def __init__(self, statement: LiteralString, parameters: Mapping[str, Any] | None) -> None:
        self.statement = statement
        self._parameters = parameters

    async def __call__(self, connection: Connection) -> list[Row]:
        cursor = await connection.execute(self.statement, self._parameters, prepare=True, binary=True)
        return await cursor.fetchall()


def _name_of(function: Callable[..., object]) -> str:
    """Name a function that reads, without any value: by its statement, or by its own name."""
    if isinstance(function, _Fetch):
        return " ".join(function.statement.split())[:_STATEMENT_CHARACTERS_MAX]
    return getattr(function, "__qualname__", type(function).__qualname__)


class _Pool(AsyncConnectionPool[Connection]):
    """A pool whose check of its idle connections cannot hang: psycopg would wait for as long as the server does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - psycopg's own
        super().__init__(*args, **kwargs)
        self._checking: set[asyncio.Task[None]] = set()  # keeps the tasks alive

    @staticmethod
    async def check_connection(conn: Connection) -> None:
        with answer_within(conn, _CHECK_SECONDS_MAX):
            await AsyncConnectionPool.check_connection(conn)

    async def check_within(self, seconds: float) -> None:
        """Check the idle connections, and go on when that takes too long.

        A reader that asks while others are checked shares their check: it finds none idle and waits for the next
        connection that is returned.
        """
        checking = asyncio.create_task(self.check())
        self._checking.add(checking)
        checking.add_done_callback(self._checking.discard)
        await asyncio.wait({checking}, timeout=seconds)
