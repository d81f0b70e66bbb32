"""The chaos gateway's book: that of the demo gateway, and beside it what was done to each key, sealed or still to come.

It lies in the same schema, so that a store may be served by either gateway in turn. An attempt, an inquiry and a late
movement of money is one transaction each, under the lock of its key, and committed before anybody is answered: a
`kill -9` at any moment leaves it whole or without trace, and money that was on its way is still on its way.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row, kwargs_row, scalar_row, tuple_row

from ledger.sql import load_statements
from processors.chaos_gateway_plan import Act, Deed, RequestKind, Standing, Word, on_call, on_inquiry
from processors.demo_gateway_book import Asked, Book, Entry, read_entry
from processors.demo_gateway_plan import Decision

AFTER_ALL_SECONDS: Final = 0.2
"""How long after its not_found a gateway that lies moves the money; enough for the answer to be heard first."""

LATE_SHARE_MAX: Final = 0.8
"""How much of the settle time late money may take; the rest is for a slow machine."""

_ACTS_MAX: Final = 1000
_SQL: Final = load_statements("processors", "chaos_gateway_book.sql")

Draw = Callable[[int], Act]
"""Draws what happens to the attempt or inquiry of this number."""


class ActDone(Struct, frozen=True, kw_only=True):
    """One act, as it was written down."""

    request: RequestKind
    number: int
    behaviour: str
    deed: str
    at: datetime


class _Key(Struct, frozen=True, kw_only=True):
    """A key's row: what stands beside the call. `overdue` says that late money should have moved by now."""

    inquiries: int
    sealed: bool
    lying: bool
    due: bool
    overdue: bool

    def standing(self, entry: Entry | None) -> Standing:
        """Put row and call together."""
        decision = None if entry is None else entry.decision
        return Standing(decision=decision, sealed=self.sealed, due=self.due, lying=self.lying)


class ChaosBook(Book):
    """The open book; an async context manager. Raises BookUnavailable as Book does."""

    async def call(self, asked: Asked, draw: Draw, *, settle_seconds: float) -> tuple[Entry, Act]:
        """Count an attempt, do what is drawn for it as far as it fits to what was done before, and commit.

        Gives the entry as it stands afterwards and the act to be told. Raises KeyReused, and then leaves no trace.
        """
        async with self._connection() as connection, connection.transaction():
            key = await self._lock(connection, asked.gateway_key)
            entry = await self._up_to_date(connection, await self._count(connection, asked), key)
            act = on_call(draw(entry.attempts), key.standing(entry))
            entry = await self._do(connection, entry, act, settle_seconds=settle_seconds)
            await self._note(connection, asked.gateway_key, "pay", entry.attempts, act)
        return entry, act

    async def inquiry(self, *, gateway_key: str, payment_id: int, draw: Draw) -> tuple[Entry | None, Word, Act]:
        """Count an inquiry, see to it that the truth about its key stays true, and commit.

        Gives the entry, None where this payment has none under the key, the word of a plain answer, and the act.
        """
        async with self._connection() as connection, connection.transaction():
            key = await self._lock(connection, gateway_key, inquiries=1)
            entry = await self._find(connection, gateway_key)
            if entry is not None and entry.payment_id != payment_id:
                return None, "not_found", draw(key.inquiries)  # a key of somebody else's, which is not sealed for that
            if entry is not None:
                entry = await self._up_to_date(connection, entry, key)
            standing = key.standing(entry)
            act = on_inquiry(draw(key.inquiries), standing)
            if act.deed is Deed.SEAL:
                await connection.execute(_SQL["seal"], {"gateway_key": gateway_key})
            elif act.deed is Deed.APPROVE_AFTER_ALL:
                late = {"gateway_key": gateway_key, "seconds": AFTER_ALL_SECONDS}
                await connection.execute(_SQL["approve_later"], late)
            await self._note(connection, gateway_key, "inquire", key.inquiries, act)
        return entry, standing.word, act

    async def approve_overdue(self) -> None:
        """Move the late money whose time has come."""
        async with self._connection() as connection:
            await connection.execute(_SQL["approve_overdue"])

    async def seconds_until_due(self) -> float | None:
        """Say in how many seconds the next late money moves, which may have been to; None when none is on its way."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(_SQL["next_due"])
            seconds: float | None = await cursor.fetchone()
            return seconds

    async def behaviours(self) -> dict[tuple[str, str], int]:
        """Count what was done, by request and behaviour."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row)
            await cursor.execute(_SQL["count_behaviours"])
            return {(request, behaviour): count for request, behaviour, count in await cursor.fetchall()}

    async def acts(self, *, gateway_key: str) -> list[ActDone]:
        """List what was done to one key, the oldest first."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=class_row(ActDone))
            await cursor.execute(_SQL["list_acts"], {"gateway_key": gateway_key, "limit": _ACTS_MAX})
            return await cursor.fetchall()

    async def _lock(self, connection: AsyncConnection[Any], gateway_key: str, *, inquiries: int = 0) -> _Key:
        cursor = connection.cursor(row_factory=class_row(_Key))
        await cursor.execute(_SQL["lock_key"], {"gateway_key": gateway_key, "inquiries": inquiries})
        key = await cursor.fetchone()
        assert key is not None, "the statement inserts or updates one row"
        return key

    async def _find(self, connection: AsyncConnection[Any], gateway_key: str) -> Entry | None:
        cursor = connection.cursor(row_factory=kwargs_row(read_entry))
        await cursor.execute(_SQL["find_key"], {"gateway_key": gateway_key})
        return await cursor.fetchone()

    async def _up_to_date(self, connection: AsyncConnection[Any], entry: Entry, key: _Key) -> Entry:
        """Move late money whose time has come, so that nobody is told less than the truth."""
        if not key.overdue or entry.decision is not None:
            return entry
        return await self._settle(connection, entry, Decision.APPROVED)

    async def _do(self, connection: AsyncConnection[Any], entry: Entry, act: Act, *, settle_seconds: float) -> Entry:
        key: dict[str, Any] = {"gateway_key": entry.gateway_key}
        match act.deed:
            case Deed.APPROVE:
                return await self._settle(connection, entry, Decision.APPROVED)
            case Deed.DECLINE:
                return await self._settle(connection, entry, Decision.DECLINED)
            case Deed.APPROVE_LATER:
                seconds = act.delay * LATE_SHARE_MAX * settle_seconds
                await connection.execute(_SQL["approve_later"], key | {"seconds": seconds})
            case Deed.APPROVE_AFTER_ALL:
                await connection.execute(_SQL["lie"], key)
            case Deed.NOTHING | Deed.SEAL:
                pass
        return entry

    async def _settle(self, connection: AsyncConnection[Any], entry: Entry, decision: Decision) -> Entry:
        await connection.execute(_SQL["settle_key"], {"gateway_key": entry.gateway_key})
        return await self._decide(connection, entry, decision)

    async def _note(
        self, connection: AsyncConnection[Any], gateway_key: str, request: RequestKind, number: int, act: Act
    ) -> None:
        done = {"behaviour": act.behaviour.value, "deed": act.deed.value}
        await connection.execute(
            _SQL["note_act"], {"gateway_key": gateway_key, "request": request, "number": number, **done}
        )

    async def _make(self) -> None:
        await super()._make()
        async with self._connection() as connection, connection.transaction():
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(_SQL["chaos_is_made"])
            if await cursor.fetchone():
                return
            await self._lock_making(connection)
            for table in ("make_chaos_keys", "make_chaos_keys_due", "make_chaos_acts"):
                await connection.execute(_SQL[table])
