"""The chaos gateway: as a process of its own with a record of its effects, or served in the test's event loop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import httpx
from msgspec import to_builtins

from ledger.store.database import Database
from processors.simulators.chaos.scenario import ChaosProfile
from processors.simulators.chaos.server import serve
from tests.support.gateways.demo_process import GatewayProcess
from tests.support.ports import free_port

PROGRAM = """
import json, sys
from msgspec import convert
from processors.simulators.chaos.server import serve
from processors.simulators.chaos.scenario import ChaosProfile
from tests.support.gateways.serving import run
arguments = json.loads(sys.argv[1])
run(serve, profile=convert(arguments.pop("profile"), ChaosProfile), **arguments)
"""


class ChaosGatewayProcess(GatewayProcess):
    """The chaos gateway with a given profile, as a process."""

    def __init__(self, database: Database, profile: ChaosProfile, *, port: int | None = None) -> None:
        super().__init__(PROGRAM, database, port=port, profile=to_builtins(profile))

    def behaviours(self) -> dict[str, int]:
        """Count its behaviours."""
        counts: dict[str, int] = httpx.get(f"{self.url}/behaviours", trust_env=False).json()
        return counts

    def effects(self) -> list[dict[str, Any]]:
        """List all the money that it moved."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            answer = httpx.get(f"{self.url}/effects", params={"after": after, "limit": 1000}, trust_env=False)
            page = json.loads(answer.content, parse_float=Decimal)
            found += page["items"]
            after = page["next_after"]
        return found


@asynccontextmanager
async def serving(database: Database, profile: ChaosProfile) -> AsyncIterator[str]:
    """Serve the chaos gateway in this event loop for the length of a block; yields its URL."""
    port, closing = free_port(), asyncio.Event()
    gateway = asyncio.create_task(
        serve(database.url, port=port, profile=profile, schema=database.schema, closing=closing)
    )
    try:
        while not gateway.done():
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        closing.set()
        await gateway
