"""The demo gateway's book: the call, the decision and the effect under each key.

The book has its own Postgres schema, which it creates if it is missing. An attempt is one transaction, which commits
before the gateway answers. So a `kill -9` leaves an attempt complete or without a trace, and a repeated call gets the
same decision.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from msgspec import Struct
from msgspec.structs import asdict, replace
from psycopg import AsyncConnection, InterfaceError, OperationalError, sql
from psycopg.rows import class_row, kwargs_row, scalar_row
from psycopg_pool import AsyncConnectionPool

from ledger.domain.kinds import PaymentKind
from ledger.store.database import Database
from ledger.store.statements import load_statements
from processors.simulators.demo.scenario import Decision, Step

SCHEMA: Final = "demo_gateway"
_CONNECTIONS_MAX: Final = 8
_CONNECTION_WAIT_SECONDS: Final = 5.0
_OPEN_SECONDS_MAX: Final = 30.0
_SQL: Final = load_statements("processors.simulators.demo", "store.sql")


class BookUnavailable(Exception):
    """The database does not answer; a running transaction may have been committed or not."""


class KeyReused(Exception):
    """The key was used for another payment, or for the same payment with other amounts."""


class GatewayCall(Struct, frozen=True, kw_only=True):
    """A call: the key and the payment whose money the caller asks to move."""

    gateway_key: str
    payment_id: int
    user_id: int
    kind: PaymentKind
    amount: Decimal
    commission: Decimal


class Entry(GatewayCall, frozen=True, kw_only=True):
    """The entry of a key in the book: the call, the number of attempts, and the decision with its effect."""

    attempts: int
    decision: Decision | None
    effect_number: int | None

    def is_for(self, call: GatewayCall) -> bool:
        """Tell whether the entry is for the same key, payment and amounts as a call."""
        return all(getattr(self, name) == getattr(call, name) for name in GatewayCall.__struct_fields__)


class Effect(GatewayCall, frozen=True, kw_only=True):
    """Money that moved. Effects are numbered in the order in which they were written."""

    number: int
    at: datetime


class Book:
    """The open book; an async context manager. Any number of books, in any number of processes, may share a schema.

    Every method raises BookUnavailable when the database does not answer.
    """

    def __init__(self, database_url: str, *, schema: str = SCHEMA) -> None:
        self._schema = schema
        database = Database(database_url, schema)
        self._pool = AsyncConnectionPool(
            database.conninfo(application="payment-ledger demo gateway", owner=True),
            kwargs={"autocommit": True},
            configure=database.async_prover(owner=True),
            min_size=1,
            max_size=_CONNECTIONS_MAX,
            timeout=_CONNECTION_WAIT_SECONDS,
            open=False,
            name="demo-gateway",
        )

    async def __aenter__(self) -> Self:
        try:
            await self._pool.open(wait=True, timeout=_OPEN_SECONDS_MAX)
            await self._make()
        except OperationalError as error:
            await self._pool.close()
            raise BookUnavailable(f"the demo gateway's database does not answer: {error}") from error
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def attempt(self, call: GatewayCall, decide: Callable[[Entry], Step]) -> tuple[Entry, Step]:
        """Count an attempt, write down the decision of the step that `decide` returns, and commit.

        Returns the entry after that, and the step. Raises KeyReused, and then changes nothing.
        """
        async with self._connection() as connection, connection.transaction():
            entry = await self._count(connection, call)
            step = decide(entry)
            if entry.decision is None and step.decision is not None:
                entry = await self._decide(connection, entry, step.decision)
        return entry, step

    async def find(self, *, gateway_key: str, payment_id: int) -> Entry | None:
        """Return the entry of a key; None when there is none or it belongs to another payment."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=kwargs_row(read_entry))
            await cursor.execute(_SQL["find_call"], {"gateway_key": gateway_key, "payment_id": payment_id})
            return await cursor.fetchone()

    async def effects(self, *, after: int, limit: int) -> list[Effect]:
        """List at most `limit` effects after number `after`, oldest first."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Effect))
            await cursor.execute(_SQL["list_effects"], {"after": after, "limit": limit})
            return await cursor.fetchall()

    async def _count(self, connection: AsyncConnection, call: GatewayCall) -> Entry:
        cursor = connection.cursor(row_factory=kwargs_row(read_entry))
        await cursor.execute(_SQL["count_attempt"], asdict(call))
        entry = await cursor.fetchone()
        assert entry is not None, "the statement inserts or updates one row"
        if not entry.is_for(call):
            raise KeyReused
        return entry

    async def _decide(self, connection: AsyncConnection, entry: Entry, decision: Decision) -> Entry:
        key = {"gateway_key": entry.gateway_key}
        if decision is Decision.DECLINED:
            await connection.execute(_SQL["decline"], key)
            return replace(entry, decision=decision)
        cursor = connection.cursor(row_factory=scalar_row)
        await cursor.execute(_SQL["approve"], key)
        return replace(entry, decision=decision, effect_number=await cursor.fetchone())

    async def _make(self) -> None:
        async with self._connection() as connection, connection.transaction():
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(_SQL["is_made"])
            if await cursor.fetchone():
                return
            await self._lock_making(connection)
            await connection.execute(sql.SQL(_SQL["make_schema"]).format(schema=sql.Identifier(self._schema)))
            await connection.execute(_SQL["make_calls"])
            await connection.execute(_SQL["make_effects"])

    async def _lock_making(self, connection: AsyncConnection) -> None:
        await connection.execute(_SQL["lock_making"])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise BookUnavailable(f"the demo gateway's database does not answer: {error}") from error


def read_entry(*, decision: str | None, **rest: Any) -> Entry:  # noqa: ANN401  the columns of the row, by name
    """Make an entry from a row of `calls`."""
    return Entry(decision=None if decision is None else Decision(decision), **rest)
