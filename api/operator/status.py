"""How the service is, for an operator at the command line: the same as over HTTP, on the database itself."""

import asyncio

from msgspec import Struct, field

from api.queries.health_evidence import Evidence, gather
from api.queries.health_rule import RULES, Finding, Severity, findings, worst
from api.queries.pool import STATEMENT_SECONDS_MAX, ReadPool
from api.queries.service_status import ServiceStatus, StatusReading, StatusReport
from api.settings import Settings
from ledger.errors import DatabaseUnavailable
from ledger.store.database import Database


class StatusView(Struct, frozen=True, kw_only=True):
    """The service's status: `wrong` has a sentence for each fault, and `ok` is true when there is none.

    `findings` are the same faults with the name of the rule, its severity and its remedy.
    """

    ok: bool
    wrong: list[str]
    findings: list[Finding]
    report: StatusReport = field(name="pulse")


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
    """Read the status of the whole service. Raises DatabaseUnavailable."""
    evidence = gather_evidence(database, settings)
    if evidence.report is None:
        raise DatabaseUnavailable
    found = findings(evidence)
    return StatusView(ok=not found, wrong=[each.sentence for each in found], findings=found, report=evidence.report)


def examine(database: Database, settings: Settings) -> DoctorView:
    """Walk the rule table. A database that gives no report is a row of the table too."""
    evidence = gather_evidence(database, settings)
    rules = [
        RuleView(
            name=rule.name,
            severity=rule.severity,
            condition=rule.condition,
            remedy=rule.remedy,
            sentences=list(rule.find(evidence)),
        )
        for rule in RULES
    ]
    return DoctorView(worst=worst(findings(evidence)), rules=rules)


def gather_evidence(database: Database, settings: Settings) -> Evidence:
    """Read what the rules look at. A person at a terminal can wait: a slow report is better than none."""
    return gather(asyncio.run(_read(database)), settings)


async def _read(database: Database) -> StatusReading:
    reads = ReadPool(database)
    await reads.open()
    service_status = ServiceStatus(reads, patience_seconds=STATEMENT_SECONDS_MAX)
    try:
        return await service_status.read()
    finally:
        await service_status.close()
        await reads.close()
