"""The worker as a process of its own."""

import asyncio

from api.runtime.gateway_tls import gateway_tls
from api.runtime.gc_tuning import relax_gc
from api.runtime.roles.stopping import run_until_stopped
from api.settings import Settings
from api.telemetry.server import metrics_served
from ledger.partition.partition import Partitions
from ledger.recovery.noted_head import NotedHeads
from ledger.writer.writer import Writer
from processors.gateways.client import Gateway
from processors.payments.breaker import BreakerPolicy
from processors.payments.retry_policy import RetryPolicy
from processors.payments.worker import Worker


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Drive payments through the gateway until the worker is asked to stop."""
    partition = partitions.only
    tls = gateway_tls(settings)
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
    writer = Writer(
        partition.database,
        slots=partition.slots,
        batch_max=settings.writer_batch_max,
        queue_max=settings.writer_queue_max,
        caches_foreign_payments=True,
        noted_heads=NotedHeads(settings.noted_heads_folder),
    )
    writer.start()
    try:
        async with Gateway(
            settings.gateway_base_url,
            timeout_seconds=settings.gateway_timeout_seconds,
            connections_max=settings.worker_concurrency,
            tls=tls,
        ) as gateway:
            worker = Worker(
                partition.database,
                writer,
                gateway,
                policy,
                concurrency=settings.worker_concurrency,
                lease_seconds=settings.worker_processing_timeout_seconds,
                poll_interval_seconds=settings.worker_poll_interval_seconds,
            )
            relax_gc()
            with metrics_served(settings.metrics_host, settings.worker_metrics_port):
                await run_until_stopped(worker.run(), stop=worker.stop, stopping=stopping)
    finally:
        await asyncio.to_thread(writer.stop)
