"""Serves a simulated gateway as a program of its own."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop


def run(serve: Callable[..., Awaitable[None]], **arguments: Any) -> None:
    """Serve in this process until SIGTERM or SIGINT. Raises as `serve` does."""

    async def main() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await serve(**arguments, closing=closing)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
