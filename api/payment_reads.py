"""What clients read about payments: from the read model, and from the events while that is behind.

A payment that was just answered for is there at once: when the read model does not have it yet, it is given in the
state in which it was opened, and never in a later one, so that what a client reads does not go back in time when the
read model takes over.
"""

from collections.abc import Mapping
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from api.gathering import Gathering
from api.pages import Filters, read_cursor, write_cursor
from api.reads import Reads
from ledger import history
from ledger.errors import PaymentNotFound
from ledger.events import PaymentEvent, PaymentFailed, PaymentKind, PaymentRequested, Recorded
from ledger.identifiers import ID_MAX
from ledger.sql import load_statements

SQL: Final = load_statements("api", "payment_reads.sql")

LOOKED_AT_MAX: Final = 10_000
"""How many payments one page looks at, at most, to find those that pass its filters."""

PAGES_MAX: Final = 32
"""How many pages one query reads, at most, for as many readers."""

PaymentStatus = Literal["new", "processing", "success", "failed"]


class PaymentRow(NamedTuple):
    """A payment as the read model has it."""

    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    status: PaymentStatus
    attempts: int
    last_error: str | None
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime


class PaymentFilter(NamedTuple):
    """Which payments a list is about; None leaves a filter out."""

    account_id: int | None = None
    status: PaymentStatus | None = None
    kind: PaymentKind | None = None

    @property
    def is_of_all_kinds(self) -> bool:
        """Whether every payment of the account, or of all, passes."""
        return self.status is None and self.kind is None

    def as_filters(self) -> Filters:
        """Give the filters for a cursor to be bound to."""
        return self._asdict()


class _PageKey(NamedTuple):
    account_id: int
    before: int
    limit: int


class PaymentReads:
    """Reads payments."""

    def __init__(self, reads: Reads) -> None:
        """Read through `reads`."""
        self._reads = reads
        self._by_id: Gathering[int, PaymentRow] = Gathering(self._read_many)
        self._by_account: Gathering[_PageKey, list[PaymentRow]] = Gathering(self._read_pages, keys_max=PAGES_MAX)

    async def close(self) -> None:
        """Stop reading."""
        await self._by_id.close()
        await self._by_account.close()

    async def get(self, payment_id: int) -> PaymentRow:
        """Give a payment. Raises PaymentNotFound, DatabaseUnavailable, ReadsBusy."""
        row = await self._by_id.get(payment_id)
        return row if row is not None else opened(await self.history(payment_id))

    async def history(self, payment_id: int) -> list[tuple[int, Recorded[PaymentEvent]]]:
        """Give a payment's events with their positions. Raises PaymentNotFound, DatabaseUnavailable."""
        events = await self._reads.read(lambda connection: history.read_payment_history(connection, payment_id))
        if not events:
            raise PaymentNotFound(payment_id=payment_id)
        return events

    async def page(
        self, route: str, wanted: PaymentFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[PaymentRow], str | None]:
        """Give a page of payments, newest first, and the cursor of the next one.

        With filters, a page may have fewer payments than its limit, or none, and still a next one.
        Raises CursorInvalid, DatabaseUnavailable.
        """
        filters = wanted.as_filters()
        before = ID_MAX + 1 if cursor is None else read_cursor(cursor, route, filters, keys=1)[0]
        if wanted.account_id is not None and wanted.is_of_all_kinds:
            key = _PageKey(wanted.account_id, before, limit + 1)
            return _page(route, filters, await self._by_account.get(key) or [], limit)
        of = "of_all" if wanted.account_id is None else "of_account"
        parameters = {**filters, "before": before, "limit": limit + 1, "looked_at_max": LOOKED_AT_MAX}
        found = [PaymentRow(*row) for row in await self._reads.rows(SQL[f"page_{of}"], parameters)]
        if len(found) > limit or wanted.is_of_all_kinds:
            return _page(route, filters, found, limit)
        last_looked_at = await self._reads.rows(SQL[f"last_looked_at_{of}"], parameters)
        return found, write_cursor(route, filters, last_looked_at[0][0]) if last_looked_at else None

    async def _read_pages(self, keys: list["_PageKey"]) -> Mapping["_PageKey", list[PaymentRow]]:
        accounts, befores, limits = zip(*keys, strict=True)
        parameters = {"account_ids": list(accounts), "befores": list(befores), "limits": list(limits)}
        found = await self._reads.rows(SQL["read_pages"], parameters)
        pages = groupby(found, key=itemgetter(0))
        return {keys[number - 1]: [PaymentRow._make(row[1:]) for row in rows] for number, rows in pages}

    async def _read_many(self, ids: list[int]) -> Mapping[int, PaymentRow]:
        rows = await self._reads.rows(SQL["read_payments"], {"ids": ids})
        return {row[0]: PaymentRow(*row) for row in rows}


def _page(route: str, filters: Filters, found: list[PaymentRow], limit: int) -> tuple[list[PaymentRow], str | None]:
    """Cut a page out of what was found, of which one more than the limit says that there is a next one."""
    if len(found) <= limit:
        return found, None
    return found[:limit], write_cursor(route, filters, found[limit - 1].payment_id)


def opened(events: list[tuple[int, Recorded[Any]]]) -> PaymentRow:
    """Give a payment as its first batch left it: new, or failed at once for want of money."""
    first = events[0][1]
    requested = first.data
    assert isinstance(requested, PaymentRequested), first
    second = events[1][1].data if len(events) > 1 else None
    refused = second.reason if isinstance(second, PaymentFailed) and second.ended_by == "request" else None
    return PaymentRow(
        payment_id=requested.payment_id,
        account_id=requested.account_id,
        kind=requested.kind,
        amount_minor=requested.amount_minor,
        fee_minor=requested.fee_minor,
        currency=requested.currency,
        status="new" if refused is None else "failed",
        attempts=0,
        last_error=refused,
        next_retry_at=None,
        created_at=first.at,
        updated_at=first.at,
    )
