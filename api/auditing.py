"""What an auditor asks from the command line, on the database itself; so it works while no API runs."""

from collections.abc import Sequence

from ledger.audit import NotedHead, Progress, verify_store
from ledger.audit_findings import AuditReport, Findings
from ledger.database import Database
from projections.audit import check_read_models


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
