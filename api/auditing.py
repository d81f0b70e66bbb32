"""What an auditor asks from the command line: the whole proof, what an account held, and whether the books balance.

The same as over HTTP and in the same words, on the database itself; so it works while no API runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from api.account_reads import AccountReads
from api.reads import Reads
from api.trial_balance import TrialBalanceView, read_trial_balance
from api.users import BalanceView, balance_view
from ledger.audit import NotedHead, Progress, verify_store
from ledger.audit_findings import AuditReport, Findings
from ledger.database import Database
from projections.audit import check_read_models

ResultT = TypeVar("ResultT")


def verify(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    noted: Sequence[NotedHead] = (),
    on_progress: Progress = lambda _stage, _done, _total: None,
) -> AuditReport:
    """Check the store, and when the whole of it is as it has to be, the read models against it.

    Read models that differ from a log that is not what was written prove nothing. Raises LogBroken, RebuildUnderWay.
    """
    report = verify_store(database, start=start, upto=upto, noted=noted, on_progress=on_progress)
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


def read_balance(database: Database, account_id: int, *, position: int | None, at: datetime | None) -> BalanceView:
    """Give what an account held at a position or a time, or holds now. Raises AccountNotFound, AccountNotOpenThen."""

    async def read(reads: Reads) -> BalanceView:
        accounts = AccountReads(reads)
        try:
            return balance_view(await accounts.at(account_id, position=position, at=at))
        finally:
            await accounts.close()

    return _read(database, read)


def sum_up(database: Database) -> TrialBalanceView:
    """Sum up the books."""
    return _read(database, read_trial_balance)


def _read(database: Database, read: Callable[[Reads], Awaitable[ResultT]]) -> ResultT:
    async def open_and_read() -> ResultT:
        reads = Reads(database)
        await reads.open()
        try:
            return await read(reads)
        finally:
            await reads.close()

    return asyncio.run(open_and_read())
