"""The chaos gateway's book: the demo gateway's book, with the acts and the state of each key in addition.

Both books use the same schema, so that either gateway can serve the same book in turn. Each attempt, inquiry and late
movement of money is one transaction under the lock of its key, which commits before the gateway answers. So a `kill -9`
leaves each of them complete or without a trace, and late money still moves after a restart.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row, kwargs_row, scalar_row, tuple_row

from ledger.store.statements import load_statements
from processors.simulators.chaos.scenario import DrawnAct, Effect, RequestKind, Standing, Word, on_call, on_inquiry
from processors.simulators.demo.scenario import Decision
from processors.simulators.demo.store import Book, Entry, GatewayCall, read_entry

AFTER_ALL_SECONDS: Final = 0.2
"""How long after a false not_found the gateway moves the money; long enough for the answer to arrive first."""

LATE_SHARE_MAX: Final = 0.8
"""The share of the settle time that late money may take; the rest is a reserve for slow machines."""

_ACTS_MAX: Final = 1000
_SQL: Final = load_statements("processors.simulators.chaos", "store.sql")

Draw = Callable[[int], DrawnAct]
"""Draws the act for the attempt or inquiry of this number."""


class ActDone(Struct, frozen=True, kw_only=True):
    """A recorded act."""

    request: RequestKind
    number: int
    behaviour: str
    effect: str
    at: datetime


class _Key(Struct, frozen=True, kw_only=True):
    """The row of a key. `overdue` says that late money should have moved by now."""

    inquiries: int
    sealed: bool
    lying: bool
    due: bool
    overdue: bool

    def standing(self, entry: Entry | None) -> Standing:
        """Return the state of the key: its row together with the decision about its call."""
        decision = None if entry is None else entry.decision
        return Standing(decision=decision, sealed=self.sealed, due=self.due, lying=self.lying)


class ChaosBook(Book):
    """The open book; an async context manager. Raises BookUnavailable as Book does."""

    async def call(self, call: GatewayCall, draw: Draw, *, settle_seconds: float) -> tuple[Entry, DrawnAct]:
        """Count an attempt, carry out the act that is drawn for it, adapted to the state of its key, and commit.

        Returns the entry after it, and the act that the answer must follow. Raises KeyReused, and then changes nothing.
        """
        async with self._connection() as connection, connection.transaction():
            key = await self._lock(connection, call.gateway_key)
            entry = await self._up_to_date(connection, await self._count(connection, call), key)
            act = on_call(draw(entry.attempts), key.standing(entry))
            entry = await self._do(connection, entry, act, settle_seconds=settle_seconds)
            await self._record(connection, call.gateway_key, "pay", entry.attempts, act)
        return entry, act

    async def inquiry(self, *, gateway_key: str, payment_id: int, draw: Draw) -> tuple[Entry | None, Word, DrawnAct]:
        """Count an inquiry, draw its act, seal its key if the answer says not_found, and commit.

        Returns the entry (None when this payment has none under the key), the word of a plain answer, and the act.
        """
        async with self._connection() as connection, connection.transaction():
            key = await self._lock(connection, gateway_key, inquiries=1)
            entry = await self._find(connection, gateway_key)
            if entry is not None and entry.payment_id != payment_id:
                return None, "not_found", draw(key.inquiries)  # the key of another payment, which must not be sealed
            if entry is not None:
                entry = await self._up_to_date(connection, entry, key)
            standing = key.standing(entry)
            act = on_inquiry(draw(key.inquiries), standing)
            if act.effect is Effect.SEAL:
                await connection.execute(_SQL["seal"], {"gateway_key": gateway_key})
            elif act.effect is Effect.APPROVE_AFTER_ALL:
                late = {"gateway_key": gateway_key, "seconds": AFTER_ALL_SECONDS}
                await connection.execute(_SQL["approve_later"], late)
            await self._record(connection, gateway_key, "inquire", key.inquiries, act)
        return entry, standing.word, act

    async def approve_overdue(self) -> None:
        """Move the late money that is due."""
        async with self._connection() as connection:
            await connection.execute(_SQL["approve_overdue"])

    async def seconds_until_due(self) -> float | None:
        """Return the seconds until the next late money is due, negative when it is overdue; None without late money."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(_SQL["next_due"])
            seconds: float | None = await cursor.fetchone()
            return seconds

    async def behaviours(self) -> dict[tuple[str, str], int]:
        """Count the acts, by request and behaviour."""
        async with self._connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row)
            await cursor.execute(_SQL["count_behaviours"])
            return {(request, behaviour): count for request, behaviour, count in await cursor.fetchall()}

    async def acts(self, *, gateway_key: str) -> list[ActDone]:
        """List the acts under one key, oldest first."""
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
        """Move late money that is due, so that the answer is true."""
        if not key.overdue or entry.decision is not None:
            return entry
        return await self._settle(connection, entry, Decision.APPROVED)

    async def _do(
        self, connection: AsyncConnection[Any], entry: Entry, act: DrawnAct, *, settle_seconds: float
    ) -> Entry:
        key: dict[str, Any] = {"gateway_key": entry.gateway_key}
        match act.effect:
            case Effect.APPROVE:
                return await self._settle(connection, entry, Decision.APPROVED)
            case Effect.DECLINE:
                return await self._settle(connection, entry, Decision.DECLINED)
            case Effect.APPROVE_LATER:
                seconds = act.delay * LATE_SHARE_MAX * settle_seconds
                await connection.execute(_SQL["approve_later"], key | {"seconds": seconds})
            case Effect.APPROVE_AFTER_ALL:
                await connection.execute(_SQL["lie"], key)
            case Effect.NOTHING | Effect.SEAL:
                pass
        return entry

    async def _settle(self, connection: AsyncConnection[Any], entry: Entry, decision: Decision) -> Entry:
        await connection.execute(_SQL["settle_key"], {"gateway_key": entry.gateway_key})
        return await self._decide(connection, entry, decision)

    async def _record(
        self, connection: AsyncConnection[Any], gateway_key: str, request: RequestKind, number: int, act: DrawnAct
    ) -> None:
        done = {"behaviour": act.behaviour.value, "effect": act.effect.value}
        await connection.execute(
            _SQL["record_act"], {"gateway_key": gateway_key, "request": request, "number": number, **done}
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
