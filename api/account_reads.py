"""What clients read about their accounts: balances, statements, and what the account was at some point of the log.

Balances come from the read model; an account that it does not have yet is given as it was opened, from the events. A
statement's range is fixed by positions on its first page and carried on by the cursor, so that opening balance, entries
and closing balance of all its pages fit together while payments go on.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from api.errors import AccountNotOpenThen, RequestInvalid
from api.gathering import Gathering
from api.pages import read_cursor, write_cursor
from api.reads import Reads
from api.times import optional_timestamp
from ledger import history
from ledger.errors import AccountNotFound
from ledger.history import AccountAt
from ledger.sql import load_statements

SQL: Final = load_statements("api", "account_reads.sql")


class AccountRow(NamedTuple):
    """An account as the read model has it."""

    account_id: int
    currency: str
    posted_minor: int
    held_minor: int


class StatementEntry(NamedTuple):
    """What one settled payment, or the opening, did to the account; `amount_minor` is signed and net of fees."""

    position: int
    payment_id: int | None
    at: datetime
    amount_minor: int
    balance_after_minor: int


class Statement(NamedTuple):
    """A page of a statement, and the balances before and after the whole of its range."""

    account: AccountRow
    opening_minor: int
    closing_minor: int
    entries: list[StatementEntry]
    next_cursor: str | None


class AccountReads:
    """Reads accounts."""

    def __init__(self, reads: Reads) -> None:
        """Read through `reads`."""
        self._reads = reads
        self._by_id: Gathering[int, AccountRow] = Gathering(self._read_many)

    async def close(self) -> None:
        """Stop reading."""
        await self._by_id.close()

    async def get(self, account_id: int) -> AccountRow:
        """Give an account. Raises AccountNotFound, DatabaseUnavailable, ReadsBusy."""
        row = await self._by_id.get(account_id)
        if row is not None:
            return row
        account = await self._reads.read(lambda connection: history.read_account(connection, account_id))
        if account is None:
            raise AccountNotFound(account_id=account_id)
        return AccountRow(account_id, account.currency, account.opening_minor, 0)

    async def at(self, account_id: int, *, position: int | None, at: datetime | None) -> AccountAt:
        """Give an account as it was at a position or a time, or as it is when neither is given; from the events.

        Raises AccountNotFound, AccountNotOpenThen, RequestInvalid, DatabaseUnavailable.
        """
        if position is not None and at is not None:
            raise RequestInvalid.at("position", "cannot be given together with `at`")
        if position is None and at is None:
            position = (await self._reads.read(history.read_head)).position
        found = await self._reads.read(
            lambda connection: history.read_account_at(connection, account_id, position=position, at=at)
        )
        if found is None:
            await self.get(account_id)
            raise AccountNotOpenThen(account_id=account_id)
        return found

    async def statement(
        self, account_id: int, *, start: datetime | None, end: datetime | None, limit: int, cursor: str | None
    ) -> Statement:
        """Give a page of the entries from `start` on and before `end`, oldest first.

        Raises AccountNotFound, CursorInvalid, DatabaseUnavailable.
        """
        account = await self.get(account_id)
        route = f"statement of {account_id}"
        filters = {"from": optional_timestamp(start), "to": optional_timestamp(end)}
        if cursor is None:
            first = await self._last_before(start) if start is not None else 0
            # A range that ends before it begins is empty: what it opens with is what it closes with.
            after, upto = first, max(first, await self._last_before(end))
        else:
            first, after, upto = read_cursor(cursor, route, filters, keys=3)
        parameters = {"account_id": account_id, "after": after, "upto": upto, "limit": limit + 1}
        found = [StatementEntry(*row) for row in await self._reads.rows(SQL["page_of_statement"], parameters)]
        entries = found[:limit]
        return Statement(
            account=account,
            opening_minor=await self._balance_after(account_id, first),
            closing_minor=await self._balance_after(account_id, upto),
            entries=entries,
            next_cursor=write_cursor(route, filters, first, entries[-1].position, upto) if len(found) > limit else None,
        )

    async def _last_before(self, at: datetime | None) -> int:
        if at is None:
            rows = await self._reads.rows(SQL["last_entry"])
        else:
            rows = await self._reads.rows(SQL["last_entry_before"], {"at": at})
        return _first_or_zero(rows)

    async def _balance_after(self, account_id: int, position: int) -> int:
        parameters = {"account_id": account_id, "position": position}
        return _first_or_zero(await self._reads.rows(SQL["balance_after"], parameters))

    async def _read_many(self, ids: list[int]) -> Mapping[int, AccountRow]:
        rows = await self._reads.rows(SQL["read_accounts"], {"ids": ids})
        return {row[0]: AccountRow(*row) for row in rows}


def _first_or_zero(rows: list[tuple[Any, ...]]) -> int:
    return int(rows[0][0]) if rows else 0
