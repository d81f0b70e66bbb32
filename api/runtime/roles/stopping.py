"""Runs something that does not know when the part is asked to stop, and names its partition in log lines."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from ledger.partition.partition import Partition, Partitions


async def run_until_stopped(
    running: Sequence[Awaitable[None]], *, stop: Callable[[], None], stopping: asyncio.Event
) -> None:
    """Run several things at once that `stop` stops, all of them, also when one of them fails.

    Each of them is awaited to its end, so none is cut off by the failure of another. Raises the first one's error.
    """
    runs = [asyncio.ensure_future(each) for each in running]
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({*runs, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    stop()
    await asyncio.wait(runs)
    for failed in [run for run in runs if run.exception() is not None]:
        await failed


def name_in_logs(partition: Partition, partitions: Partitions) -> None:
    """Let the log lines of this task or thread name their partition, where the ledger has several."""
    if len(partitions) > 1:
        structlog.contextvars.bind_contextvars(partition=partition.number)
