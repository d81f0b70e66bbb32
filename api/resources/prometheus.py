"""Metrics for Prometheus: those of this process, and those of the whole ledger."""

import asyncio

from litestar import Response, get

from api.auth.access import allows
from api.context import PartitionContext
from api.http.problems import problems
from api.limits.marks import UNLIMITED
from api.queries.health_evidence import gather
from api.queries.service_status import QUERY_SECONDS_MAX
from api.resources.metrics import SQL
from api.resources.request import LedgerRequest
from api.telemetry.exposition import CONTENT_TYPE, Figures, Totals, exposition
from ledger.errors import DatabaseUnavailable


@get(
    "/metrics",
    opt={**allows("read"), **UNLIMITED},
    tags=["health"],
    media_type=CONTENT_TYPE,
    responses=problems(limited=False),
)
async def prometheus(request: LedgerRequest) -> Response[bytes]:
    """Read the metrics of this process and of the ledger in Prometheus' text format.

    While the database does not answer, those of the ledger are left out, and the health rule `database_unavailable`
    is 1.
    """
    context, partition = request.context, request.context.only
    reading, totals = await asyncio.gather(partition.service_status.read(), _totals(partition))
    evidence = gather(reading, context.settings, writer_trouble=partition.writer.trouble)
    figures = Figures(
        evidence=evidence,
        totals=totals,
        pool=partition.pool.stats(),
        commands_waiting=partition.writer.waiting,
        replays=context.idempotency_hits,
    )
    return Response(exposition(context.process_metrics, figures), media_type=CONTENT_TYPE)


async def _totals(partition: PartitionContext) -> Totals | None:
    """Read the totals; None when the database does not tell them in time."""
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            rows = partition.pool.rows
            counters, ends = await asyncio.gather(rows(SQL["read_counters"]), rows(SQL["read_ends"]))
    except (DatabaseUnavailable, TimeoutError):
        return None
    return Totals(dict(counters), {(kind, currency, end): count for kind, currency, end, count in ends})
