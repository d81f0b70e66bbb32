"""Keeps an embedded Postgres running for as long as a part of the service uses it."""

import asyncio
from typing import Final

import structlog

from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed
from api.runtime.embedded_postgres.server import EmbeddedPostgres

POSTGRES_LOOK_SECONDS: Final = 0.5
"""How often the embedded Postgres is looked at. Its absence is noticed by everybody else at once."""

_log = structlog.get_logger()


async def keep_running(postgres: EmbeddedPostgres) -> None:
    """Start the embedded Postgres again whenever it has died.

    A look happens in a thread, because it waits for the locks of other processes that start or stop the server.
    """
    while True:
        await asyncio.sleep(POSTGRES_LOOK_SECONDS)
        looking = asyncio.ensure_future(asyncio.to_thread(_keep, postgres))
        try:
            await asyncio.shield(looking)
        except asyncio.CancelledError:
            await asyncio.wait({looking})  # a start may not run while the server is being stopped
            raise


def _keep(postgres: EmbeddedPostgres) -> None:
    """Look once. A failure is logged and not raised, because its cause may be gone by the next look."""
    try:
        postgres.stay_user()
        if not postgres.is_running():
            _log.error("postgres_died")
            postgres.ensure_running()
            _log.warning("postgres_started_again")
    except (EmbeddedPostgresFailed, OSError) as failed:
        _log.error("postgres_cannot_start", why=str(failed))
