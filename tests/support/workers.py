"""A running worker for tests: with a writer and a thread of its own, for the length of a block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

from ledger.store.database import Database
from ledger.writer.writer import Writer
from processors.gateways.client import Gateway
from processors.payments.call_slots import CallSlots
from processors.payments.retry_policy import RetryPolicy
from processors.payments.worker import Worker

WITHIN_SECONDS = 30.0
QUICK = RetryPolicy(base_seconds=0.02, cap_seconds=0.05, jitter_seconds=0.0, settle_seconds=0.05)


def expire_leases(database: Database) -> None:
    """Let all leases run out at once, as they do while a worker is suspended in the middle of its calls."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("UPDATE gateway_queue SET leased_until = now() - interval '1 s' WHERE leased_until IS NOT NULL")


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
    """Run a worker with a writer of its own in another thread, until the block ends. Its clock may be wrong."""
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
                slots=CallSlots(concurrency),
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
