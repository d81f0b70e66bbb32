"""Health: whether the process lives, whether it can serve, and how the whole service is."""

from typing import ClassVar, Literal

from litestar import get
from msgspec import Struct

from api.problems import problems
from api.pulse import Beat, PartPulse, QueuePulse, ReadModelPulse
from api.requests import LedgerRequest
from ledger.errors import DatabaseUnavailable
from ledger.payment import LetterState


class LiveView(Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"

    EXAMPLE: ClassVar[object] = {"status": "ok"}


class HealthView(Struct, frozen=True, kw_only=True):
    """How the service is: degraded when the database is away, a read model has stopped, or no payments are taken.

    `commands_waiting` wait in this process to be written. `position` is the log's end, and a read model's `lag` counts
    the events that it has still to see. `withheld` says that the store is an imported copy of the ledger, which takes
    no payments before it is taken over. What the database would have to say is null while it is unavailable.
    """

    status: Literal["ok", "degraded"]
    database: Literal["ok", "unavailable"]
    commands_waiting: int
    position: int | None = None
    withheld: bool | None = None
    read_models: list[ReadModelPulse] | None = None
    gateway_queue: QueuePulse | None = None
    dead_letters: dict[LetterState, int] | None = None
    parts: list[PartPulse] | None = None

    EXAMPLE: ClassVar[object] = {
        "status": "ok",
        "database": "ok",
        "commands_waiting": 0,
        "position": 120,
        "withheld": False,
        "read_models": [
            {
                "name": "read_models",
                "position": 118,
                "lag": 2,
                "stopped_at_position": None,
                "stopped_because": None,
            }
        ],
        "gateway_queue": {"waiting": 3, "oldest_due_seconds": 0.2},
        "dead_letters": {"failed": 1, "in_doubt": 0, "reconcile": 0},
        "parts": [{"part": "worker", "instance": "host:17:0a1b2c3d", "seen_seconds_ago": 1.5}],
    }


@get("/livez", tags=["health"], responses=problems())
async def livez() -> LiveView:
    """Say that the process lives; nothing else is looked at."""
    return LiveView()


@get("/readyz", tags=["health"], responses=problems())
async def readyz(request: LedgerRequest) -> LiveView:
    """Say whether requests can be served: 503 while the database does not answer."""
    _require(is_there=await request.parts.pulse.is_there())
    return LiveView()


@get("/health", tags=["health"], responses=problems())
async def health(request: LedgerRequest) -> HealthView:
    """Read how the whole service is; 200 also when it is degraded, and fast also when the database is gone."""
    return _health(await request.parts.pulse.feel(), commands_waiting=request.parts.writer.waiting)


def _require(*, is_there: bool) -> None:
    if not is_there:
        raise DatabaseUnavailable


def _health(beat: Beat | None, *, commands_waiting: int) -> HealthView:
    if beat is None:
        return HealthView(status="degraded", database="unavailable", commands_waiting=commands_waiting)
    return HealthView(
        status="degraded" if beat.stopped or beat.withheld else "ok",
        database="ok",
        commands_waiting=commands_waiting,
        position=beat.position,
        withheld=beat.withheld,
        read_models=beat.read_models,
        gateway_queue=beat.gateway_queue,
        dead_letters=beat.dead_letters,
        parts=beat.parts,
    )
