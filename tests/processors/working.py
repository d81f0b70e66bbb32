"""A worker at work: with a writer of its own, in a thread of its own, for the length of a block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from ledger.database import Database
from ledger.writer import Writer
from processors.gateway import Gateway
from processors.retry_policy import RetryPolicy
from processors.worker import Worker

WITHIN_SECONDS = 30.0
QUICK = RetryPolicy(base_seconds=0.02, cap_seconds=0.05, jitter_seconds=0.0, settle_seconds=0.05)


@contextmanager
def working(
    database: Database,
    url: str,
    *,
    policy: RetryPolicy = QUICK,
    lease_seconds: float = 20.0,
    poll_interval_seconds: float = 0.2,
    timeout_seconds: float = 2.0,
    concurrency: int = 8,
    clock_ahead: timedelta = timedelta(),
) -> Iterator[Worker]:
    """Run a worker with a writer of its own in another thread, until the block ends; its clock may be wrong."""
    writer = Writer(database)
    writer.start()
    made: list[Worker] = []
    ready = threading.Event()

    async def work() -> None:
        async with Gateway(
            url, timeout_seconds=timeout_seconds, wall_clock=lambda: datetime.now(UTC) + clock_ahead
        ) as gateway:
            worker = Worker(
                database,
                writer,
                gateway,
                policy,
                concurrency=concurrency,
                lease_seconds=lease_seconds,
                poll_interval_seconds=poll_interval_seconds,
            )
            made.append(worker)
            loops.append(asyncio.get_running_loop())
            ready.set()
            await worker.run()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    ready.wait(WITHIN_SECONDS)
    try:
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(made[0].stop)
        thread.join(WITHIN_SECONDS)
        writer.stop()
        assert not thread.is_alive()
