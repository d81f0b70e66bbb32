"""The demo gateway as a process of its own."""

import asyncio

from api.runtime.ports import address_of, ensure_free
from api.runtime.process_proof import proof_headers
from api.settings import Settings
from ledger.partition.partition import Partitions
from processors.simulators.demo.scenario import DemoProfile
from processors.simulators.demo.server import serve


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Serve the demo gateway until it is asked to stop. Raises CannotListen."""
    ensure_free(settings.demo_gateway_host, settings.demo_gateway_port)
    await serve(
        partitions.first.database.url,
        host=address_of(settings.demo_gateway_host),
        port=settings.demo_gateway_port,
        profile=DemoProfile(
            timeout_rate=settings.demo_gateway_timeout_rate,
            error_rate=settings.demo_gateway_error_rate,
            seed=settings.demo_gateway_seed,
        ),
        process_headers=proof_headers(),
        closing=stopping,
    )
