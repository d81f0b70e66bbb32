"""Queries about payments: from the read model, or from the events while the read model is behind.

A client can read a payment as soon as its request was answered. A payment that the read model does not have yet is
returned in its first state and never in a later one, so that a client never sees it go back in time when the read model
catches up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from api.errors import StreamSetAside
from api.http.cursors import (
    PLACE_MAX,
    Filters,
    read_cursor,
    read_merged_cursor,
    write_cursor,
    write_merged_cursor,
)
from api.queries.accounts import refuse_set_aside
from api.queries.coalescing import QueryCoalescer
from api.queries.history import HistoryQueries
from api.queries.merged import DONE, LedgerId, Section, TimedPlace, merge
from api.queries.pool import ReadPool
from ledger.application.application import Placed
from ledger.domain.events import (
    PaymentEvent,
    PaymentFacts,
    PaymentFailed,
    facts_of,
)
from ledger.domain.kinds import PaymentKind
from ledger.store.statements import load_statements
from projections.models.payment_status import Status, step

SQL: Final = load_statements("api.queries", "payments.sql")

SCANNED_MAX: Final = 10_000
"""The most payments that one page scans to find those that pass its filters."""

PAGES_MAX: Final = 32
"""The most pages that one query reads, for as many waiting requests."""


class PaymentRow(PaymentFacts, frozen=True):
    """A row of the read model `payment_status`."""

    status: Status
    attempts: int
    last_error: str | None
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime
    is_set_aside: bool = False


class PaymentFilter(NamedTuple):
    """The filters of a list of payments; None leaves a filter out."""

    account_id: int | None = None
    status: Status | None = None
    kind: PaymentKind | None = None

    @property
    def is_of_all_kinds(self) -> bool:
        """Whether the list has no filter except the account."""
        return self.status is None and self.kind is None

    def as_filters(self) -> Filters:
        """Return the filters in the form that a cursor is bound to."""
        return self._asdict()


class _PageKey(NamedTuple):
    account_id: int
    before: int
    limit: int


class PaymentQueries:
    """Reads payments."""

    def __init__(self, pool: ReadPool, history: HistoryQueries, *, partition: int = 0) -> None:
        """Read the read models through `pool`, and events through `history`."""
        self._pool = pool
        self._history = history
        self._partition = partition
        self._by_id: QueryCoalescer[int, PaymentRow] = QueryCoalescer(self._read_many)
        self._by_account: QueryCoalescer[_PageKey, list[PaymentRow]] = QueryCoalescer(
            self._read_pages, keys_max=PAGES_MAX
        )

    async def close(self) -> None:
        """End the running queries and cancel the waiting ones."""
        await self._by_id.close()
        await self._by_account.close()

    async def get(self, payment_id: int) -> PaymentRow:
        """Read a payment. Raises PaymentNotFound, StreamSetAside, DatabaseUnavailable, ReadsBusy."""
        row = await self._by_id.get(payment_id)
        if row is not None:
            _refuse_rows_set_aside([row])
            return row
        row = opened(await self._history.payment(payment_id))
        await refuse_set_aside(self._pool, row.account_id)
        return row

    async def page(
        self, route: str, wanted: PaymentFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[PaymentRow], str | None]:
        """Read a page of payments, newest first, and the cursor of the next page, which is None on the last one.

        With filters, a page may have fewer payments than its limit, or none, and still have a next page. A page of one
        user is refused while a stream of the user is set aside. Raises CursorInvalid, StreamSetAside,
        DatabaseUnavailable.
        """
        filters = wanted.as_filters()
        before = (
            PLACE_MAX if cursor is None else read_cursor(cursor, route, filters, keys=1, partition=self._partition)[0]
        )
        if wanted.account_id is not None and wanted.is_of_all_kinds:
            rows = await self._by_account.get(_PageKey(wanted.account_id, before, limit + 1)) or []
            found = _cut(rows, limit)
        else:
            found = await self.section(wanted, before=before, limit=limit)
        await self._refuse_hidden(wanted, found.rows)
        if found.rest is None:
            return [*found.rows], None
        return [*found.rows], write_cursor(route, filters, found.rest.place, partition=self._partition)

    async def section(self, wanted: PaymentFilter, *, before: int, limit: int) -> Section[PaymentRow]:
        """Look for up to `limit` payments with ids below `before`, newest first, among a limited number of rows.

        Raises DatabaseUnavailable.
        """
        of = "of_all" if wanted.account_id is None else "of_account"
        parameters = {**wanted.as_filters(), "before": before, "limit": limit + 1, "scanned_max": SCANNED_MAX}
        found = [PaymentRow(*row) for row in await self._pool.rows(SQL[f"page_{of}"], parameters)]
        if len(found) > limit or wanted.is_of_all_kinds:
            return _cut(found, limit)
        last_scanned = await self._pool.rows(SQL[f"last_scanned_{of}"], parameters)
        return Section(found, TimedPlace(*last_scanned[0]) if last_scanned else None)

    async def _refuse_hidden(self, wanted: PaymentFilter, rows: Sequence[PaymentRow]) -> None:
        """Refuse a page of a user of whom a stream is set aside, also an empty one. Raises StreamSetAside."""
        _refuse_rows_set_aside(rows)
        if wanted.account_id is not None and not rows:
            await refuse_set_aside(self._pool, wanted.account_id)

    async def _read_pages(self, keys: list["_PageKey"]) -> Mapping["_PageKey", list[PaymentRow]]:
        accounts, befores, limits = zip(*keys, strict=True)
        parameters = {"account_ids": list(accounts), "befores": list(befores), "limits": list(limits)}
        found = await self._pool.rows(SQL["read_pages"], parameters)
        pages = groupby(found, key=itemgetter(0))
        return {keys[number - 1]: [PaymentRow(*row[1:]) for row in rows] for number, rows in pages}

    async def _read_many(self, ids: list[int]) -> Mapping[int, PaymentRow]:
        rows = await self._pool.rows(SQL["read_payments"], {"ids": ids})
        return {row[0]: PaymentRow(*row) for row in rows}


class MergedPayments:
    """Lists the payments of all users over several partitions."""

    def __init__(self, partitions: Sequence[PaymentQueries], ledger_id: LedgerId) -> None:
        """Ask the queries of all partitions, in their order."""
        self._partitions = tuple(partitions)
        self._ledger_id = ledger_id

    async def page(
        self, route: str, wanted: PaymentFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[PaymentRow], str | None]:
        """Read a page of payments about newest first, and the cursor of the next page, None on the last one.

        The payments are those that there were when the first page was read, each once. A page may have fewer payments
        than its limit, or none, and still have a next page. Raises CursorInvalid, DatabaseUnavailable.
        """
        assert wanted.account_id is None, "the payments of a user are in one partition"
        filters, ledger_id = wanted.as_filters(), await self._ledger_id.read()
        count = len(self._partitions)
        before = (
            (PLACE_MAX,) * count
            if cursor is None
            else read_merged_cursor(cursor, route, filters, partitions=count, ledger_id=ledger_id)
        )
        asked = zip(self._partitions, before, strict=True)
        sections = await asyncio.gather(*(_section(each, wanted, before=place, limit=limit) for each, place in asked))
        rows, places = merge(sections, limit=limit, place_of=_place)
        if all(place == DONE for place in places):
            return rows, None
        return rows, write_merged_cursor(route, filters, places, ledger_id=ledger_id)


async def _section(queries: PaymentQueries, wanted: PaymentFilter, *, before: int, limit: int) -> Section[PaymentRow]:
    """Ask a partition, except for one whose list has ended."""
    return Section((), None) if before == DONE else await queries.section(wanted, before=before, limit=limit)


def _cut(rows: Sequence[PaymentRow], limit: int) -> Section[PaymentRow]:
    """Cut a page out of the rows found. One row more than the limit means that there is a next page."""
    return Section(rows[:limit], _place(rows[limit - 1]) if len(rows) > limit else None)


def _place(row: PaymentRow) -> TimedPlace:
    return TimedPlace(row.payment_id, row.created_at)


def _refuse_rows_set_aside(rows: Sequence[PaymentRow]) -> None:
    """Refuse rows of a user of whom a stream is set aside. Raises StreamSetAside."""
    if any(row.is_set_aside for row in rows):
        raise StreamSetAside


def opened(events: Sequence[Placed[PaymentEvent]]) -> PaymentRow:
    """Give a payment as its first batch left it: new, or failed at once because the money did not suffice.

    The row is folded as the read model folds it, so that what a client reads first is what the read model says later.
    """
    (position, first), *others = events
    row = step(None, position, first.at, first.data)
    for position, recorded in others[:1]:
        if isinstance(recorded.data, PaymentFailed) and recorded.data.ended_by == "request":
            row = step(row, position, recorded.at, recorded.data)
    return PaymentRow(
        *facts_of(row),
        status=row.status,
        attempts=row.attempts,
        last_error=row.last_error,
        next_retry_at=row.next_retry_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
