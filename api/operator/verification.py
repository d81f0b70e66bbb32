"""Checks of an auditor on the command line: verify the whole store, read an account's balance, sum up the journal.

They do the same as the HTTP routes and use the same field names, but work directly on the database, without the API.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from api.queries.accounts import AccountQueries
from api.queries.history import HistoryQueries
from api.queries.pool import ReadPool
from api.views.accounts import BalanceView, balance_view
from api.views.trial_balance import TrialBalanceView, sum_up_journal, trial_balance_view
from ledger.audit.findings import AuditReport, Findings
from ledger.audit.verify import ExpectedHead, verify_store
from ledger.partition.partition import Partition
from ledger.progress import Progress, no_progress
from ledger.store.database import Database
from projections.engine.verify import check_read_models

ResultT = TypeVar("ResultT")


def verify(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    expected: Sequence[ExpectedHead] = (),
    on_progress: Progress[str] = no_progress,
) -> AuditReport:
    """Verify the store, and compare the read models with it when the whole store was verified without an error.

    Differences between read models and a changed log would prove nothing. Raises LogBroken, RebuildUnderWay.
    """
    report = verify_store(database, start=start, upto=upto, expected=expected, on_progress=on_progress)
    if not report.ok or start > 1 or upto is not None:
        return report
    findings = Findings()
    check_read_models(database, findings, progress=lambda stage, *done: on_progress(f"read models: {stage}", *done))
    return AuditReport(
        ok=not findings,
        events=report.events,
        position=report.position,
        digest=report.digest,
        errors=findings.first,
    )


def read_balance(partition: Partition, account_id: int, *, position: int | None, at: datetime | None) -> BalanceView:
    """Read an account's balance at a position or a time, or now. Raises AccountNotFound, AccountNotOpenThen."""

    async def read(reads: ReadPool) -> BalanceView:
        history = HistoryQueries(partition.database)
        accounts = AccountQueries(reads, history)
        try:
            return balance_view(await accounts.at(account_id, position=position, at=at), partition=partition.number)
        finally:
            await accounts.close()
            await history.close()

    return _read(partition.database, read)


def sum_up(*databases: Database) -> TrialBalanceView:
    """Sum up the journals of all partitions by currency. It takes as long as they need. Raises psycopg.Error."""

    async def connect_and_sum_up() -> TrialBalanceView:
        journals = []
        for database in databases:
            async with await database.connect_async(application="payment-ledger audit") as connection:
                journals.append(await sum_up_journal(connection))
        return trial_balance_view(journals)

    return asyncio.run(connect_and_sum_up())


def _read(database: Database, read: Callable[[ReadPool], Awaitable[ResultT]]) -> ResultT:
    async def open_and_read() -> ResultT:
        reads = ReadPool(database)
        await reads.open()
        try:
            return await read(reads)
        finally:
            await reads.close()

    return asyncio.run(open_and_read())
