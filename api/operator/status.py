"""How the service is, for an operator at the command line: the same as over HTTP, on the database itself."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct, field

from api.queries.health_evidence import Evidence, gather
from api.queries.health_rule import RULES, Finding, Severity, findings, worst
from api.queries.pool import STATEMENT_SECONDS_MAX, ReadPool
from api.queries.service_status import ServiceStatus, StatusReading, StatusReport
from api.settings import Settings
from ledger.errors import DatabaseUnavailable
from ledger.partition.partition import Partitions
from ledger.store.database import Database


class StatusView(Struct, frozen=True, kw_only=True):
    """The service's status: `wrong` has a sentence for each fault, and `ok` is true when there is none.

    `findings` are the same faults with the name of the rule, its severity and its remedy.
    """

    ok: bool
    wrong: list[str]
    findings: list[Finding]
    report: StatusReport = field(name="pulse")


class PartitionStatusView(Struct, frozen=True, kw_only=True):
    """The status of one of several partitions; without a report when its database does not give one."""

    partition: int
    ok: bool
    findings: list[Finding]
    report: StatusReport | None = field(name="pulse")


class LedgerStatusView(Struct, frozen=True, kw_only=True):
    """The status of a ledger with several partitions. Each sentence of `wrong` names its partition."""

    ok: bool
    wrong: list[str]
    partitions: list[PartitionStatusView]


class RuleView(Struct, frozen=True, kw_only=True):
    """A row of the rule table with the sentences that it found; without any, all is well there."""

    name: str
    severity: Severity
    condition: str
    remedy: str
    sentences: list[str]


class DoctorView(Struct, frozen=True, kw_only=True):
    """The rule table, row by row, and the worst severity among the faults, null without any."""

    worst: Severity | None
    rules: list[RuleView]


def read_status(database: Database, settings: Settings) -> StatusView:
    """Read the status of the whole service of a ledger with one partition. Raises DatabaseUnavailable."""
    (reading,) = asyncio.run(_read([database]))
    evidence = gather(reading, settings)
    if evidence.report is None:
        raise DatabaseUnavailable
    found = findings(evidence)
    return StatusView(ok=not found, wrong=[each.sentence for each in found], findings=found, report=evidence.report)


def read_status_of_all(partitions: Partitions, settings: Settings) -> LedgerStatusView:
    """Read the status of a ledger with several partitions. One that cannot be reached has a finding that says so."""
    views = []
    for partition, evidence in zip(partitions, gather_evidence(partitions, settings), strict=True):
        found = findings(evidence)
        views.append(
            PartitionStatusView(partition=partition.number, ok=not found, findings=found, report=evidence.report)
        )
    wrong = [_of_partition(view.partition, found.sentence) for view in views for found in view.findings]
    return LedgerStatusView(ok=not wrong, wrong=wrong, partitions=views)


def examine(partitions: Partitions, settings: Settings) -> DoctorView:
    """Walk the rule table over all partitions. A database that gives no report is a row of the table too.

    Where there are several partitions, each sentence names its own.
    """
    each = gather_evidence(partitions, settings)
    rules = [
        RuleView(
            name=rule.name,
            severity=rule.severity,
            condition=rule.condition,
            remedy=rule.remedy,
            sentences=[
                sentence if len(each) == 1 else _of_partition(number, sentence)
                for number, evidence in enumerate(each)
                for sentence in rule.find(evidence)
            ],
        )
        for rule in RULES
    ]
    return DoctorView(worst=worst([found for evidence in each for found in findings(evidence)]), rules=rules)


def gather_evidence(partitions: Partitions, settings: Settings) -> list[Evidence]:
    """Read what the rules look at, of each partition. The facts of this machine stand with the first one.

    A person at a terminal can wait: a slow report is better than none.
    """
    first, *others = asyncio.run(_read([partition.database for partition in partitions]))
    return [gather(first, settings), *(Evidence(database=other.database, report=other.report) for other in others)]


def _of_partition(number: int, sentence: str) -> str:
    return f"partition {number}: {sentence}"


async def _read(databases: Sequence[Database]) -> list[StatusReading]:
    """Read of all databases at once, so that one which does not answer costs its time once."""
    return await asyncio.gather(*(_read_one(database) for database in databases))


async def _read_one(database: Database) -> StatusReading:
    reads = ReadPool(database)
    await reads.open()
    service_status = ServiceStatus(reads, patience_seconds=STATEMENT_SECONDS_MAX)
    try:
        return await service_status.read()
    finally:
        await service_status.close()
        await reads.close()
