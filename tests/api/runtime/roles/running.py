"""A part of the service that runs in a thread of the tests' process, over any number of partitions."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from api.settings import Settings
from ledger.partition.partition import Partitions

STOP_SECONDS_MAX = 30.0


@contextmanager
def running(
    run: Callable[[Settings, Partitions, asyncio.Event], Awaitable[None]], settings: Settings, partitions: Partitions
) -> Iterator[None]:
    """Run a role until the block ends, and raise what it raises."""
    ready = threading.Event()
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    errors: list[BaseException] = []

    async def work() -> None:
        stopping = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stopping))
        ready.set()
        await run(settings, partitions, stopping)

    def in_thread() -> None:
        try:
            asyncio.run(work())
        except Exception as error:  # noqa: BLE001 - given to the test
            errors.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    assert ready.wait(STOP_SECONDS_MAX)
    loop, stopping = handles[0]
    try:
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
        thread.join(STOP_SECONDS_MAX)
        assert not thread.is_alive(), "the part does not stop"
    if errors:
        raise errors[0]
