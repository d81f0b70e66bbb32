"""The API as a process of its own."""

import asyncio

from api.app import create_app
from api.auth.exposure import ensure_guarded
from api.runtime.gc_tuning import relax_gc
from api.runtime.process_proof import proof_headers
from api.runtime.roles.http_server import serve_http
from api.runtime.server_tls import server_tls
from api.settings import Settings
from ledger.partition.partition import Partitions


async def run(settings: Settings, partitions: Partitions, stopping: asyncio.Event) -> None:
    """Serve the API until it is asked to stop. Raises CannotListen, SettingsError."""
    await asyncio.to_thread(ensure_guarded, settings, partitions.first.database)
    tls = server_tls(settings)
    app = create_app(settings, partitions, process_headers=proof_headers())
    async with app.lifespan():
        relax_gc()
        await serve_http(
            app,
            host=settings.host,
            port=settings.port,
            keep_alive_seconds=settings.http_keep_alive_seconds,
            connections_max=settings.limit_connections,
            stopping=stopping,
            tls=tls,
        )
