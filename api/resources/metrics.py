"""Metrics: totals counted from the events, and so equal in every process; only the replays are counted per process."""

from collections.abc import Mapping
from typing import Final

from litestar import get

from api.auth.access import allows
from api.http.problems import problems
from api.queries.merged import add_up
from api.resources.request import LedgerRequest
from ledger.store.statements import load_statements
from projections.models.counters import NAMES

SQL: Final = load_statements("api.resources", "metrics.sql")

IDEMPOTENCY_HITS: Final = "idempotency_hits_total"


@get("/metrics", opt=allows("read"), tags=["health"], responses=problems())
async def metrics(request: LedgerRequest) -> dict[str, int]:
    """Read the counters. All are always present. `idempotency_hits_total` counts only the replays of this process."""
    tables = await request.context.ask_all(lambda partition: partition.pool.rows(SQL["read_counters"]))
    counted: dict[str, int] = add_up(dict(rows) for rows in tables)
    return _metrics(counted, idempotency_hits=request.context.idempotency_hits)


def _metrics(counted: Mapping[str, int], *, idempotency_hits: int) -> dict[str, int]:
    return {name: counted.get(name, 0) for name in NAMES} | {IDEMPOTENCY_HITS: idempotency_hits}
