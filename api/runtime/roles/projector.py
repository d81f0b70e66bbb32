"""The projector as a process of its own: one projector for each partition, each in a thread of its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from api.runtime.gc_tuning import relax_gc
from api.runtime.roles.stopping import name_in_logs, run_until_stopped
from api.settings import Settings
from api.telemetry.server import metrics_served
from ledger.partition.partition import Partition, Partitions
from projections.engine.projector import Projector


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Keep the read models of the partitions up to date until the projector is asked to stop."""
    projectors = [
        Projector(partition.database, poll_interval_seconds=settings.worker_poll_interval_seconds)
        for partition in partitions.served
    ]
    relax_gc()

    def stop() -> None:
        for projector in projectors:
            projector.stop()

    loop = asyncio.get_running_loop()
    with (
        metrics_served(settings.metrics_host, settings.projector_metrics_port),
        # The loop's own threads are too few for many partitions.
        ThreadPoolExecutor(max_workers=len(projectors), thread_name_prefix="projector") as threads,
    ):
        runs = [
            loop.run_in_executor(threads, _run, projector, partition, partitions)
            for projector, partition in zip(projectors, partitions.served, strict=True)
        ]
        await run_until_stopped(runs, stop=stop, stopping=stopping)


def _run(projector: Projector, partition: Partition, partitions: Partitions) -> None:
    name_in_logs(partition, partitions)
    projector.run()
