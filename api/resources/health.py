"""Health: the routes for liveness, readiness, and the status of the whole service."""

from typing import ClassVar, Final, Literal

from litestar import get
from msgspec import UNSET, Struct, UnsetType, structs

from api.auth.access import allows
from api.context import AppContext, PartitionContext
from api.http.problems import problems
from api.http.responses import Answer
from api.limits.marks import UNLIMITED
from api.queries.health_evidence import Evidence, gather_all
from api.queries.health_rule import Finding, can_serve, findings
from api.queries.merged import add_up
from api.queries.service_status import (
    DATABASE_STATES,
    DatabaseState,
    GatewayStatus,
    PartStatus,
    QueueStatus,
    ReadModelStatus,
)
from api.resources.request import LedgerRequest
from ledger.domain.payment import LetterState
from ledger.errors import DatabaseUnavailable

WRITER_SILENT: Final = "it gave no answer in time"


class LiveView(Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"

    EXAMPLE: ClassVar[object] = {"status": "ok"}


class PartitionHealth(Struct, frozen=True, kw_only=True):
    """The status of a partition: `ok`, or `degraded` with a sentence in `wrong` for each thing that needs an operator.

    `payment-ledger status` says the same of everything except the writer of this process: `commands_waiting` is the
    number of commands that wait for it, and `writer_trouble` the reason why it could not write at its last try.
    `position` is the last position of the log, `log_ahead_seconds` how far the log's last time is ahead of the
    database's clock, and `lag` the number of events that a read model is behind the log. `inactive` marks an
    imported copy of the ledger, which takes no payments before an operator activates it. `findings` are the faults of
    `wrong` with the name of the rule, its severity and its remedy. Fields that come from the database are null while it
    is unavailable, and while it is slow to tell them. `partition` is left out where the ledger has only one.
    """

    status: Literal["ok", "degraded"]
    wrong: list[str]
    findings: list[Finding]
    database: DatabaseState
    commands_waiting: int
    writer_trouble: str | None = None
    position: int | None = None
    log_ahead_seconds: float | None = None
    inactive: bool | None = None
    read_models: list[ReadModelStatus] | None = None
    gateway: GatewayStatus | None = None
    gateway_queue: QueueStatus | None = None
    dead_letters: dict[LetterState, int] | None = None
    oldest_in_doubt_seconds: float | None = None
    oldest_letter_seconds: dict[LetterState, float] | None = None
    durability_off: list[str] | None = None
    parts: list[PartStatus] | None = None
    partition: int | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        "status": "ok",
        "wrong": [],
        "findings": [],
        "database": "ok",
        "commands_waiting": 0,
        "writer_trouble": None,
        "position": 120,
        "log_ahead_seconds": 0.0,
        "inactive": False,
        "read_models": [
            {
                "name": "read_models",
                "position": 118,
                "lag": 2,
                "lag_seconds": 0.1,
                "stopped_at_position": None,
                "stopped_because": None,
                "set_aside": [],
                "not_filled": [],
            }
        ],
        "gateway": {"state": "closed", "since_seconds": 0.0, "why": None},
        "gateway_queue": {"waiting": 3, "oldest_due_seconds": 0.2},
        "dead_letters": {"failed": 1, "in_doubt": 0, "contradicted": 0},
        "oldest_in_doubt_seconds": 0.0,
        "oldest_letter_seconds": {"failed": 300.5, "in_doubt": 0.0, "contradicted": 0.0},
        "durability_off": [],
        "parts": [{"part": "worker", "instance": "host:17:0a1b2c3d", "seen_seconds_ago": 1.5}],
    }


class HealthView(PartitionHealth, frozen=True, kw_only=True):
    """The service's status: that of its only partition, or of several, which are in `partitions`.

    Of the fields that come from a database, a ledger with several partitions has only sums over all of them: the queue
    and the letters, null while one of them is not told. `database` is the worst state, and each sentence in `wrong`
    begins with its partition.
    """

    partitions: list[PartitionHealth] | UnsetType = UNSET


@get("/livez", opt={**allows("public"), **UNLIMITED}, tags=["health"], responses=problems(limited=False))
async def livez() -> LiveView:
    """Answer that the process is alive; nothing else is checked."""
    return LiveView()


@get("/readyz", opt={**allows("public"), **UNLIMITED}, tags=["health"], responses=problems(limited=False))
async def readyz(request: LedgerRequest) -> Answer[LiveView]:
    """Say whether requests can be served: 503 while the database does not answer, or cannot be written.

    Of several partitions one is enough: only the users of the others get a 503.
    """
    _require(await request.context.ask_all(_readiness))
    return Answer(LiveView(), status_code=200, headers=request.app.state["process_headers"])


@get("/health", opt={**allows("read"), **UNLIMITED}, tags=["health"], responses=problems(limited=False))
async def health(request: LedgerRequest) -> HealthView:
    """Read how the whole service is; 200 also when it is degraded, and fast also when a database is gone."""
    evidence = await read_evidence(request.context)
    views = [
        _health(each, commands_waiting=partition.writer.waiting, partition=partition.label)
        for each, partition in zip(evidence, request.context.partitions, strict=True)
    ]
    return views[0] if len(views) == 1 else _together(views)


async def read_evidence(context: AppContext) -> list[Evidence]:
    """Read the evidence of the health rules in all partitions, in their order. One that is away is quick to say so."""
    readings = await context.ask_all(lambda partition: partition.service_status.read())
    troubles = [partition.writer.trouble for partition in context.partitions]
    return gather_all(readings, context.settings, writer_troubles=troubles)


async def _readiness(partition: PartitionContext) -> Evidence:
    """Gather the evidence of the rules that stop requests. It counts nothing, because a balancer asks often."""
    database = await partition.service_status.database()
    writes = database != "unavailable" and await partition.writer.can_write()
    return Evidence(database=database, writer_trouble=None if writes else partition.writer.trouble or WRITER_SILENT)


def _require(evidence: list[Evidence]) -> None:
    if not any(can_serve(each) for each in evidence):
        raise DatabaseUnavailable


def _together(views: list[HealthView]) -> HealthView:
    """Make the health of a ledger of that of its partitions."""
    queues = [view.gateway_queue for view in views if view.gateway_queue is not None]
    letters = [view.dead_letters for view in views if view.dead_letters is not None]
    oldest = [view.oldest_letter_seconds for view in views if view.oldest_letter_seconds is not None]
    whole = HealthView(
        status="ok" if all(view.status == "ok" for view in views) else "degraded",
        wrong=[f"partition {view.partition}: {sentence}" for view in views for sentence in view.wrong],
        findings=[finding for view in views for finding in view.findings],
        database=max((view.database for view in views), key=DATABASE_STATES.index),
        commands_waiting=sum(view.commands_waiting for view in views),
        writer_trouble=next((view.writer_trouble for view in views if view.writer_trouble is not None), None),
        partitions=[*views],
    )
    if len(queues) < len(views):
        return whole
    return structs.replace(
        whole,
        gateway_queue=QueueStatus(
            waiting=sum(each.waiting for each in queues),
            oldest_due_seconds=max(each.oldest_due_seconds for each in queues),
        ),
        dead_letters=add_up(letters),
        oldest_in_doubt_seconds=max(each["in_doubt"] for each in oldest),
        oldest_letter_seconds={state: max(each[state] for each in oldest) for state in oldest[0]},
    )


def _health(evidence: Evidence, *, commands_waiting: int, partition: int | UnsetType) -> HealthView:
    found = findings(evidence, partition=partition)
    seen = HealthView(
        status="degraded" if found else "ok",
        wrong=[each.sentence for each in found],
        findings=found,
        database=evidence.database,
        commands_waiting=commands_waiting,
        writer_trouble=evidence.writer_trouble,
        partition=partition,
    )
    if (report := evidence.report) is None:
        return seen
    return structs.replace(
        seen,
        position=report.position,
        log_ahead_seconds=report.log_ahead_seconds,
        inactive=report.inactive,
        read_models=report.read_models,
        gateway=report.gateway,
        gateway_queue=report.gateway_queue,
        dead_letters=report.dead_letters,
        oldest_in_doubt_seconds=report.oldest_in_doubt_seconds,
        oldest_letter_seconds=report.oldest_letter_seconds,
        durability_off=report.durability_off,
        parts=report.parts,
    )
