"""Metrics for Prometheus: those of this process, and those of the whole ledger."""

import asyncio

from litestar import Response, get

from api.auth.access import allows
from api.context import AppContext, PartitionContext
from api.http.problems import problems
from api.limits.marks import UNLIMITED
from api.queries.merged import add_up
from api.queries.service_status import QUERY_SECONDS_MAX
from api.resources.health import read_evidence
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
    is 1. Over several partitions, the figures of each have the label `partition`, the totals of payments are sums, and
    those are left out while one partition does not answer.
    """
    context = request.context
    evidence, totals = await asyncio.gather(read_evidence(context), _all_totals(context))
    figures = Figures(
        partitions=[(each.label, found) for each, found in zip(context.partitions, evidence, strict=True)],
        totals=totals,
        pool=add_up(partition.pool.stats() for partition in context.partitions),
        commands_waiting=sum(partition.writer.waiting for partition in context.partitions),
        replays=context.idempotency_hits,
    )
    return Response(exposition(context.process_metrics, figures), media_type=CONTENT_TYPE)


async def _all_totals(context: AppContext) -> Totals | None:
    """Read and add up the totals; None when a database does not tell them in time: a sum must not fall and rise."""
    found = [totals for totals in await context.ask_all(_totals) if totals is not None]
    if len(found) < len(context.partitions):
        return None
    return Totals(add_up(totals.counters for totals in found), add_up(totals.ends for totals in found))


async def _totals(partition: PartitionContext) -> Totals | None:
    """Read the totals; None when the database does not tell them in time."""
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            rows = partition.pool.rows
            counters, ends = await asyncio.gather(rows(SQL["read_counters"]), rows(SQL["read_ends"]))
    except (DatabaseUnavailable, TimeoutError):
        return None
    return Totals(dict(counters), {(kind, currency, end): count for kind, currency, end, count in ends})
