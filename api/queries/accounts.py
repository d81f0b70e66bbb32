"""Queries about accounts: balances, statements, and the account at a position of the log or a time.

Balances come from the read model. An account that the read model does not have yet, and its statement, are read from
the events, as the account was opened. Both say as of which position they speak. The first page of a statement fixes its
range by positions and the cursor carries the range on, so that the opening balance, the entries and the closing balance
of all pages agree while payments continue.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from api.errors import AccountNotOpenThen, CursorInvalid, RequestInvalid, StreamSetAside
from api.http.cursors import read_cursor, write_cursor
from api.http.times import optional_timestamp
from api.queries.coalescing import QueryCoalescer
from api.queries.history import HistoryQueries
from api.queries.pool import ReadPool
from ledger.application.application import AccountAt
from ledger.audit.verify import beyond
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.queries", "accounts.sql")


CLOCKS_APART_MAX: Final = timedelta(minutes=1)
"""How far a client's clock may be ahead of the database's when it asks for a balance at a time."""


class AccountRow(NamedTuple):
    """A row of the read model `account_balance`; `position` is the one that the read models have reached.

    `is_set_aside` tells that a stream of the account is set aside, so that the row is not as its events say.
    """

    account_id: int
    currency: str
    posted_minor: int
    held_minor: int
    position: int
    is_set_aside: bool = False


class StatementEntry(NamedTuple):
    """The change of an account by one settled payment or the opening; `amount_minor` is signed and net of fees."""

    position: int
    payment_id: int | None
    at: datetime
    amount_minor: int
    balance_after_minor: int


class Statement(NamedTuple):
    """A page of a statement, and the balances before and after its whole range, which ends at `position`."""

    currency: str
    position: int
    opening_minor: int
    closing_minor: int
    entries: list[StatementEntry]
    next_cursor: str | None


class AccountQueries:
    """Reads accounts."""

    def __init__(self, pool: ReadPool, history: HistoryQueries, *, partition: int = 0) -> None:
        """Read the read models through `pool`, and events through `history`."""
        self._pool = pool
        self._history = history
        self._partition = partition
        self._by_id: QueryCoalescer[int, AccountRow] = QueryCoalescer(self._read_many)

    async def close(self) -> None:
        """End the running queries and cancel the waiting ones."""
        await self._by_id.close()

    async def get(self, account_id: int) -> AccountRow:
        """Read an account. Raises AccountNotFound, StreamSetAside, DatabaseUnavailable, ReadsBusy."""
        row = await self._row(account_id)
        if row is not None:
            return row
        opening = await self._opening(account_id)
        return AccountRow(account_id, opening.account.currency, opening.account.opening_minor, 0, opening.position)

    async def at(self, account_id: int, *, position: int | None, at: datetime | None) -> AccountAt:
        """Read an account from its events: at a position, at a time, or now when neither is given.

        A position that the log does not have, and a time that has not come, are refused. Raises AccountNotFound,
        AccountNotOpenThen, RequestInvalid, DatabaseUnavailable.
        """
        if position is not None and at is not None:
            raise RequestInvalid.at("position", "cannot be given together with `at`")
        last, now = await self._end()
        if position is not None and position > last:
            raise RequestInvalid.at("position", beyond(last))
        if at is not None and at - now > CLOCKS_APART_MAX:
            raise RequestInvalid.at("at", "has not come yet")
        if position is None and at is None:
            position = last
        found = await self._history.account_at(account_id, position=position, at=at)
        if found is None:
            raise AccountNotOpenThen(account_id=account_id)
        return found

    async def statement(
        self, account_id: int, *, start: datetime | None, end: datetime | None, limit: int, cursor: str | None
    ) -> Statement:
        """Read a page of the entries from time `start` (inclusive) to time `end` (exclusive), oldest first.

        Raises AccountNotFound, CursorInvalid, StreamSetAside, DatabaseUnavailable.
        """
        account = await self._row(account_id)
        if account is None:
            opening = await self._opening(account_id)
            if cursor is not None:
                raise CursorInvalid  # the read models were further when the range was fixed
            return statement_of_opening(opening, start=start, end=end)
        route = f"statement of {account_id}"
        filters = {"from": optional_timestamp(start), "to": optional_timestamp(end)}
        if cursor is None:
            first = await self._last_before(start) if start is not None else 0
            # A range that ends before it begins is empty, and its opening and closing balances are equal.
            after, upto = first, max(first, await self._last_before(end), account.position if end is None else 0)
        else:
            first, after, upto = read_cursor(cursor, route, filters, keys=3, partition=self._partition)
            if upto > max(account.position, await self._last_before(None)):
                raise CursorInvalid  # the read models were further when the range was fixed
        parameters = {"account_id": account_id, "after": after, "upto": upto, "limit": limit + 1}
        found = [StatementEntry(*row) for row in await self._pool.rows(SQL["page_of_statement"], parameters)]
        entries = found[:limit]
        return Statement(
            currency=account.currency,
            position=upto,
            opening_minor=await self._balance_after(account_id, first),
            closing_minor=await self._balance_after(account_id, upto),
            entries=entries,
            next_cursor=write_cursor(route, filters, first, entries[-1].position, upto, partition=self._partition)
            if len(found) > limit
            else None,
        )

    async def _end(self) -> tuple[int, datetime]:
        """Read the last position of the log, and the time that an event would have now."""
        position, now = (await self._pool.rows(SQL["read_end"]))[0]
        return int(position), now

    async def _row(self, account_id: int) -> AccountRow | None:
        """Read an account's row, None when the read model does not have it yet. Raises StreamSetAside."""
        row = await self._by_id.get(account_id)
        if row is not None and row.is_set_aside:
            raise StreamSetAside
        return row

    async def _opening(self, account_id: int) -> AccountAt:
        """Read an account that the read model does not have yet. Raises AccountNotFound, StreamSetAside."""
        opening = await self._history.opening(account_id)
        await refuse_set_aside(self._pool, account_id)
        return opening

    async def _last_before(self, at: datetime | None) -> int:
        if at is None:
            rows = await self._pool.rows(SQL["last_entry"])
        else:
            rows = await self._pool.rows(SQL["last_entry_before"], {"at": at})
        return _first_or_zero(rows)

    async def _balance_after(self, account_id: int, position: int) -> int:
        parameters = {"account_id": account_id, "position": position}
        return _first_or_zero(await self._pool.rows(SQL["balance_after"], parameters))

    async def _read_many(self, ids: list[int]) -> Mapping[int, AccountRow]:
        rows = await self._pool.rows(SQL["read_accounts"], {"ids": ids})
        return {row[0]: AccountRow(*row) for row in rows}


async def refuse_set_aside(pool: ReadPool, account_id: int) -> None:
    """Refuse an account of which a stream is set aside, where no row tells so. Raises StreamSetAside."""
    if await pool.rows(SQL["is_set_aside"], {"account_id": account_id}) != [(False,)]:
        raise StreamSetAside


def statement_of_opening(opening: AccountAt, *, start: datetime | None, end: datetime | None) -> Statement:
    """Make the statement of an account that the read models do not have yet: as it was opened, like all reads of it."""
    amount_minor = opening.account.opening_minor
    before_start = start is not None and opening.at < start
    in_range = not before_start and (end is None or opening.at < end)
    entry = StatementEntry(opening.position, None, opening.at, amount_minor, amount_minor)
    return Statement(
        currency=opening.account.currency,
        position=opening.position,
        opening_minor=amount_minor if before_start else 0,
        closing_minor=amount_minor if before_start or in_range else 0,
        entries=[entry] if in_range else [],
        next_cursor=None,
    )


def _first_or_zero(rows: list[tuple[Any, ...]]) -> int:
    return int(rows[0][0]) if rows else 0
