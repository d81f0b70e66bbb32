"""Runs something that does not know when the part is asked to stop."""

import asyncio
from collections.abc import Awaitable, Callable


async def run_until_stopped(running: Awaitable[None], *, stop: Callable[[], None], stopping: asyncio.Event) -> None:
    """Run something that has a way of its own to be stopped. Raises what it raises."""
    run = asyncio.ensure_future(running)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({run, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    stop()
    await run
