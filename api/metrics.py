"""Metrics: how often what has happened, counted from the events, and so the same whichever process is asked."""

from collections.abc import Mapping
from typing import Final

from litestar import get

from api.problems import problems
from api.requests import LedgerRequest
from ledger.sql import load_statements
from projections.counters import NAMES

SQL: Final = load_statements("api", "metrics.sql")

IDEMPOTENCY_HITS: Final = "idempotency_hits_total"


@get("/metrics", tags=["health"], responses=problems())
async def metrics(request: LedgerRequest) -> dict[str, int]:
    """Read the counters: always all of them. `idempotency_hits_total` counts this process's replays only."""
    counted: dict[str, int] = dict(await request.parts.reads.rows(SQL["read_counters"]))
    return _metrics(counted, idempotency_hits=request.parts.idempotency_hits)


def _metrics(counted: Mapping[str, int], *, idempotency_hits: int) -> dict[str, int]:
    return {name: counted.get(name, 0) for name in NAMES} | {IDEMPOTENCY_HITS: idempotency_hits}
