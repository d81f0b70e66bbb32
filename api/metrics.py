"""Metrics: how often what has happened, counted from the events, and so the same whichever process is asked."""

from collections.abc import Mapping
from typing import Final

from litestar import get

from api.problems import problems
from api.requests import LedgerRequest
from ledger.sql import load_statements

SQL: Final = load_statements("api", "metrics.sql")

COUNTERS: Final = (
    "payments_deposit_requests_total",
    "payments_withdraw_requests_total",
    "payments_task_enqueued_total",
    "payments_processing_started_total",
    "payments_success_total",
    "payments_failed_total",
    "payments_retried_total",
    "gateway_success_total",
    "gateway_timeouts_total",
    "gateway_errors_total",
    "gateway_non_retryable_errors_total",
    "dlq_written_total",
)
"""The counters of the read model `counters`, in the order in which they are shown."""

IDEMPOTENCY_HITS: Final = "idempotency_hits_total"


@get("/metrics", tags=["health"], responses=problems())
async def metrics(request: LedgerRequest) -> dict[str, int]:
    """Read the counters: always all of them. `idempotency_hits_total` counts this process's replays only."""
    counted: dict[str, int] = dict(await request.parts.reads.rows(SQL["read_counters"]))
    return _metrics(counted, idempotency_hits=request.parts.idempotency_hits)


def _metrics(counted: Mapping[str, int], *, idempotency_hits: int) -> dict[str, int]:
    return {name: counted.get(name, 0) for name in COUNTERS} | {IDEMPOTENCY_HITS: idempotency_hits}
