"""The chaos gateway: as a process of its own, with what it really did, or served beside a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import httpx
from msgspec import to_builtins

from ledger.database import Database
from processors.chaos_gateway import serve
from processors.chaos_gateway_plan import Temper
from tests.ports import free_port
from tests.processors.demo_gateway_process import GatewayProcess

_PROGRAM = """
import json, sys
from msgspec import convert
from processors.chaos_gateway import run
from processors.chaos_gateway import serve
from processors.chaos_gateway_plan import Temper
arguments = json.loads(sys.argv[1])
run(temper=convert(arguments.pop("temper"), Temper), **arguments)
"""


class ChaosGatewayProcess(GatewayProcess):
    """The chaos gateway, of some temper."""

    def __init__(self, database: Database, temper: Temper, *, port: int | None = None) -> None:
        super().__init__(_PROGRAM, database, port=port, temper=to_builtins(temper))

    def behaviours(self) -> dict[str, int]:
        """Count what it did, by behaviour."""
        counts: dict[str, int] = httpx.get(f"{self.url}/behaviours", trust_env=False).json()
        return counts

    def effects(self) -> list[dict[str, Any]]:
        """List all money that it moved."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            answer = httpx.get(f"{self.url}/effects", params={"after": after, "limit": 1000}, trust_env=False)
            page = json.loads(answer.content, parse_float=Decimal)
            found += page["items"]
            after = page["next_after"]
        return found


@asynccontextmanager
async def serving(database: Database, temper: Temper) -> AsyncIterator[str]:
    """Serve the chaos gateway in this event loop for the length of a block; gives its URL."""
    port, closing = free_port(), asyncio.Event()
    gateway = asyncio.create_task(
        serve(database.url, port=port, temper=temper, schema=database.schema, closing=closing)
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
