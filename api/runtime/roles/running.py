"""Runs one part of the service, as a process of its own.

A part runs until SIGTERM or SIGINT and then drains: it takes nothing new, and everything that it has taken is
acknowledged or refused before it ends. Work that takes too long is cut off: its lease expires, or its client
asks again.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import Final

import uvloop

from api.runtime.embedded_postgres.keeping import keep_running
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings
from ledger.partition.partition import Partitions

Run = Callable[[Settings, Partitions, asyncio.Event], Awaitable[None]]

ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "api": "api.runtime.roles.api",
        "worker": "api.runtime.roles.worker",
        "projector": "api.runtime.roles.projector",
        "demo_gateway": "api.runtime.roles.demo_gateway",
        "chaos_gateway": "api.runtime.roles.chaos_gateway",
    }
)
"""The module of each part, which has its function `run`."""


def role_of(part: str, settings: Settings) -> str:
    """Name the role of a part: its own name, except that the gateway has two kinds."""
    return f"{settings.demo_gateway_kind}_gateway" if part == "gateway" else part


def run_part(
    part: str, settings: Settings, partitions: Partitions, *, postgres: EmbeddedPostgres | None = None
) -> None:
    """Run a part until it is asked to stop; `postgres`, if given, is started again when it dies."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_until_stopped(ROLES[role_of(part, settings)], settings, partitions, postgres))


async def _run_until_stopped(
    module: str, settings: Settings, partitions: Partitions, postgres: EmbeddedPostgres | None
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    keeping = asyncio.create_task(keep_running(postgres)) if postgres is not None else None
    try:
        run: Run = import_module(module).run  # a stop is clean already while this takes its time
        await run(settings, partitions, stopping)
    finally:
        if keeping is not None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
