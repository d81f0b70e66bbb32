"""The worker as a process of its own: for each partition a writer and a worker, which share the calls of the gateway.

They share the connections to the gateway and the bound of calls under way, and the memory for cached accounts and
payments is divided over the writers.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from api.runtime.gateway_tls import gateway_tls
from api.runtime.gc_tuning import relax_gc
from api.runtime.roles.stopping import name_in_logs, run_until_stopped
from api.settings import Settings, SettingsError
from api.telemetry.server import metrics_served
from ledger.partition.partition import Partition, Partitions
from ledger.recovery.noted_head import NotedHeads
from ledger.writer.writer import CACHE_CAPACITY, Writer
from processors.gateways.client import Gateway
from processors.payments.breaker import BreakerPolicy
from processors.payments.call_slots import CallSlots, TooFewSlots
from processors.payments.retry_policy import RetryPolicy
from processors.payments.worker import Worker

THREADS_OF_A_PARTITION: Final = 3
"""How many of the loop's threads a partition may need at one time: for a recovery, a change of the gateway, a stop.

Each of them may wait for a database that cannot be reached, and must not keep the others waiting.
"""


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Drive the payments of the partitions through the gateway until the worker is asked to stop.

    Raises SettingsError, also for a WORKER_CONCURRENCY that gives a partition no call.
    """
    served = partitions.served
    threads = ThreadPoolExecutor(max_workers=THREADS_OF_A_PARTITION * len(served), thread_name_prefix="worker")
    asyncio.get_running_loop().set_default_executor(threads)  # the loop ends them
    tls = gateway_tls(settings)
    slots = _slots(settings, len(served))
    async with Gateway(
        settings.gateway_base_url,
        timeout_seconds=settings.gateway_timeout_seconds,
        connections_max=settings.worker_concurrency,
        tls=tls,
    ) as gateway:
        writers = [_writer(settings, partition, CACHE_CAPACITY // len(served)) for partition in served]
        workers = [
            _worker(settings, partition, writer, gateway, slots)
            for partition, writer in zip(served, writers, strict=True)
        ]

        def stop() -> None:
            for worker in workers:
                worker.stop()

        for writer in writers:
            writer.start()
        relax_gc()
        try:
            with metrics_served(settings.metrics_host, settings.worker_metrics_port):
                runs = [_run(worker, partition, partitions) for worker, partition in zip(workers, served, strict=True)]
                await run_until_stopped(runs, stop=stop, stopping=stopping)
        finally:
            await asyncio.gather(*(asyncio.to_thread(writer.stop) for writer in writers))


async def _run(worker: Worker, partition: Partition, partitions: Partitions) -> None:
    name_in_logs(partition, partitions)
    await worker.run()


def _slots(settings: Settings, workers: int) -> CallSlots:
    try:
        return CallSlots(settings.worker_concurrency, workers=workers)
    except TooFewSlots:
        raise SettingsError(
            problems=(f"WORKER_CONCURRENCY: must be at least {workers}, the number of partitions of this worker",)
        ) from None


def _writer(settings: Settings, partition: Partition, cache_capacity: int) -> Writer:
    return Writer(
        partition.database,
        slots=partition.slots,
        batch_max=settings.writer_batch_max,
        queue_max=settings.writer_queue_max,
        cache_capacity=cache_capacity,
        caches_foreign_payments=True,
        noted_heads=NotedHeads(settings.noted_heads_folder),
    )


def _worker(settings: Settings, partition: Partition, writer: Writer, gateway: Gateway, slots: CallSlots) -> Worker:
    policy = RetryPolicy(
        attempts_max=settings.gateway_max_attempts,
        base_seconds=settings.gateway_backoff_base_seconds,
        cap_seconds=settings.gateway_backoff_max_seconds,
        jitter_seconds=settings.gateway_backoff_jitter_seconds,
        settle_seconds=settings.inquiry_delay_seconds,
        late_seconds=settings.gateway_late_inquiry_seconds,
        inquiry=settings.gateway_inquiry,
        breaker=BreakerPolicy(
            failures=settings.gateway_breaker_failures,
            probe_seconds=settings.gateway_breaker_probe_seconds,
            patience_seconds=settings.gateway_outage_patience_seconds,
        ),
    )
    return Worker(
        partition.database,
        writer,
        gateway,
        policy,
        slots=slots,
        lease_seconds=settings.worker_processing_timeout_seconds,
        poll_interval_seconds=settings.worker_poll_interval_seconds,
    )
