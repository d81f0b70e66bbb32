"""Audits of a ledger with several partitions: each by itself, and what they come to together."""

from collections.abc import Callable
from contextlib import closing
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict

from api.operator.checkpoint import PartitionHead, digest_of
from ledger.audit.findings import AuditError, AuditReport
from ledger.errors import LogBroken
from ledger.partition.partition import Partition, Partitions
from ledger.progress import Progress, no_progress
from ledger.store.migrate import read_identity


class PartitionAudit(Struct, frozen=True, kw_only=True):
    """The result of an audit of one of several partitions, with the fields of an audit."""

    partition: int
    ok: bool
    events: int
    position: int
    digest: str
    errors: list[AuditError]


class LedgerAudit(Struct, frozen=True, kw_only=True):
    """The result of an audit of all partitions: `ok` without errors, and the number of `events` that were checked.

    `digest` is that of the checkpoint which the verified heads are.
    """

    ok: bool
    events: int
    digest: str
    partitions: list[PartitionAudit]


def verify_all(
    partitions: Partitions,
    check: Callable[[Partition, Progress[str]], AuditReport],
    *,
    on_progress: Progress[str] = no_progress,
) -> LedgerAudit:
    """Check partition after partition; a log that cannot be read is an error of its own and does not stop the others.

    Raises RebuildUnderWay, psycopg.Error.
    """
    audits = []
    for partition in partitions:
        try:
            report = check(partition, _progress_of(partition, on_progress))
        except LogBroken as broken:
            error = AuditError(broken.position, broken.what)
            report = AuditReport(ok=False, events=0, position=0, digest="", errors=[error])
        audits.append(PartitionAudit(partition=partition.number, **asdict(report)))
    heads = [
        PartitionHead(
            ledger_id=_ledger_id(partition), partition=partition.number, position=audit.position, digest=audit.digest
        )
        for partition, audit in zip(partitions, audits, strict=True)
    ]
    return LedgerAudit(
        ok=all(audit.ok for audit in audits),
        events=sum(audit.events for audit in audits),
        digest=digest_of(heads),
        partitions=audits,
    )


def _progress_of(partition: Partition, on_progress: Progress[str]) -> Progress[str]:
    return lambda stage, *done: on_progress(f"partition {partition.number}: {stage}", *done)


def _ledger_id(partition: Partition) -> UUID:
    with closing(partition.database.connect(application="payment-ledger audit")) as connection:
        return read_identity(connection).ledger_id
