"""The projector as a process of its own."""

import asyncio

from api.runtime.gc_tuning import relax_gc
from api.runtime.roles.stopping import run_until_stopped
from api.settings import Settings
from api.telemetry.server import metrics_served
from ledger.partition.partition import Partitions
from projections.engine.projector import Projector


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Keep the read models up to date until the projector is asked to stop."""
    projector = Projector(partitions.only.database, poll_interval_seconds=settings.worker_poll_interval_seconds)
    relax_gc()
    with metrics_served(settings.metrics_host, settings.projector_metrics_port):
        await run_until_stopped(asyncio.to_thread(projector.run), stop=projector.stop, stopping=stopping)
