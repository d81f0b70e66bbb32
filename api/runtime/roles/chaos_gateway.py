"""The chaos gateway as a process of its own."""

import asyncio

from api.runtime.ports import address_of, ensure_free
from api.runtime.process_proof import proof_headers
from api.settings import Settings
from ledger.partition.partition import Partitions
from processors.simulators.chaos.scenario import ChaosProfile
from processors.simulators.chaos.server import serve


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Serve the chaos gateway until it is asked to stop. Raises CannotListen."""
    assert settings.demo_gateway_seed is not None, "settings without it are refused"
    ensure_free(settings.demo_gateway_host, settings.demo_gateway_port)
    await serve(
        partitions.first.database.url,
        host=address_of(settings.demo_gateway_host),
        port=settings.demo_gateway_port,
        profile=ChaosProfile(seed=settings.demo_gateway_seed, settle_seconds=settings.inquiry_delay_seconds),
        process_headers=proof_headers(),
        closing=stopping,
    )
