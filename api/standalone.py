"""What each part of the service runs when it is a process of its own: the API, the worker, the projector, the gateway.

A part runs until SIGTERM or SIGINT and then drains: it takes nothing new, and everything that it has taken is
acknowledged or refused before it ends. What takes too long is cut off, and found again by its lease or by its client.
The parts are imported where they start, because no process needs all of them.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import structlog
import uvloop

from api.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresFailed
from api.garbage import collect_seldom
from api.ports import address_of, ensure_free
from ledger.database import Database
from ledger.settings import Settings

DRAIN_SECONDS: Final = 2.0
"""How long requests under way may take when the API is asked to stop; they take milliseconds."""

POSTGRES_LOOK_SECONDS: Final = 0.5
"""How often the embedded Postgres is looked at. Its absence is noticed by everybody else at once."""

HEAD_BYTES_MAX: Final = 64 * 1024
"""How long the address and the headers of a request may be together. The server answers longer ones by itself."""

_BACKLOG: Final = 1024
_log = structlog.get_logger()

Run = Callable[[Settings, Database, asyncio.Event], Awaitable[None]]


def run_part(part: str, settings: Settings, database: Database, *, postgres: EmbeddedPostgres | None = None) -> None:
    """Run a part until it is asked to stop; `postgres`, if given, is started again when it dies."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_until_stopped(PARTS[part], settings, database, postgres))


async def keep_running(postgres: EmbeddedPostgres) -> None:
    """Start the embedded Postgres again whenever it has died."""
    while True:
        await asyncio.sleep(POSTGRES_LOOK_SECONDS)
        if not postgres.is_running():
            _log.error("postgres_died")
            starting = asyncio.ensure_future(asyncio.to_thread(postgres.ensure_running))
            try:
                await asyncio.shield(starting)
            except EmbeddedPostgresFailed as failed:
                _log.error("postgres_cannot_start", why=str(failed))
            except asyncio.CancelledError:
                await asyncio.wait({starting})  # whoever stops the server next must be the only one to touch it
                raise
            else:
                _log.warning("postgres_started_again")


async def _run_until_stopped(
    run: Run, settings: Settings, database: Database, postgres: EmbeddedPostgres | None
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    keeping = asyncio.create_task(keep_running(postgres)) if postgres is not None else None
    try:
        await run(settings, database, stopping)
    finally:
        if keeping is not None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


async def _run_api(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    from api.app import create_app  # noqa: PLC0415 - only this part needs it

    app = create_app(settings, database)
    async with app.lifespan():
        collect_seldom()
        await serve_http(app, host=settings.host, port=settings.port, stopping=stopping)


async def serve_http(app: Any, *, host: str, port: int, stopping: asyncio.Event) -> None:  # noqa: ANN401 - ASGI
    """Serve an ASGI application until `stopping`, and then answer what is under way.

    The application's own lifespan has to be around this, so that it ends after the last answer, whatever happens here.
    """
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415 - only this part needs it
    from granian.http import HTTP1Settings  # noqa: PLC0415 - (as above)
    from granian.server.embed import Server  # noqa: PLC0415 - (as above)

    ensure_free(host, port)
    server = Server(
        app,
        address=address_of(host),
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=HEAD_BYTES_MAX),
        websockets=False,
        backlog=_BACKLOG,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    server.stop()  # type: ignore[no-untyped-call]
    # A client that sends half a body and waits would keep it waiting too.
    await asyncio.wait({serving}, timeout=DRAIN_SECONDS)
    if not serving.done():
        _log.warning("requests_cut_off", after_seconds=DRAIN_SECONDS)
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _run_worker(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    from ledger.writer import Writer  # noqa: PLC0415 - only this part needs it
    from processors.gateway import Gateway  # noqa: PLC0415 - (as above)
    from processors.retry_policy import RetryPolicy  # noqa: PLC0415 - (as above)
    from processors.worker import Worker  # noqa: PLC0415 - (as above)

    policy = RetryPolicy(
        attempts_max=settings.gateway_max_attempts,
        base_seconds=settings.gateway_backoff_base_seconds,
        cap_seconds=settings.gateway_backoff_max_seconds,
        jitter_seconds=settings.gateway_backoff_jitter_seconds,
        settle_seconds=settings.gateway_settle_seconds,
        inquiry=settings.gateway_inquiry,
    )
    writer = Writer(database, batch_max=settings.writer_batch_max, queue_max=settings.writer_queue_max, settles=True)
    writer.start()
    try:
        async with Gateway(
            settings.gateway_base_url,
            timeout_seconds=settings.gateway_timeout_seconds,
            connections_max=settings.worker_concurrency,
        ) as gateway:
            worker = Worker(
                database,
                writer,
                gateway,
                policy,
                concurrency=settings.worker_concurrency,
                lease_seconds=settings.worker_processing_timeout_seconds,
                poll_interval_seconds=settings.worker_poll_interval_seconds,
            )
            collect_seldom()
            await _until_stopped(worker.run(), stop=worker.stop, stopping=stopping)
    finally:
        await asyncio.to_thread(writer.stop)


async def _run_projector(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    from projections.projector import Projector  # noqa: PLC0415 - only this part needs it

    projector = Projector(database, poll_interval_seconds=settings.worker_poll_interval_seconds)
    collect_seldom()
    await _until_stopped(asyncio.to_thread(projector.run), stop=projector.stop, stopping=stopping)


async def _run_gateway(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    ensure_free(settings.demo_gateway_host, settings.demo_gateway_port)
    serve = _serve_demo_gateway if settings.demo_gateway_chaos_seed is None else _serve_chaos_gateway
    await serve(settings, database, stopping)


async def _serve_chaos_gateway(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    from processors.chaos_gateway import serve  # noqa: PLC0415 - only this part needs it
    from processors.chaos_gateway_plan import Temper  # noqa: PLC0415 - (as above)

    assert settings.demo_gateway_chaos_seed is not None, "it is the seed that asks for this gateway"
    await serve(
        database.url,
        host=address_of(settings.demo_gateway_host),
        port=settings.demo_gateway_port,
        temper=Temper(seed=settings.demo_gateway_chaos_seed, settle_seconds=settings.gateway_settle_seconds),
        closing=stopping,
    )


async def _serve_demo_gateway(settings: Settings, database: Database, stopping: asyncio.Event) -> None:
    from processors.demo_gateway import serve  # noqa: PLC0415 - only this part needs it
    from processors.demo_gateway_plan import Manners  # noqa: PLC0415 - (as above)

    await serve(
        database.url,
        host=address_of(settings.demo_gateway_host),
        port=settings.demo_gateway_port,
        manners=Manners(
            timeout_rate=settings.demo_gateway_timeout_rate,
            error_rate=settings.demo_gateway_error_rate,
            seed=settings.demo_gateway_seed,
        ),
        closing=stopping,
    )


async def _until_stopped(running: Awaitable[None], *, stop: Callable[[], None], stopping: asyncio.Event) -> None:
    """Run something that has a way of its own to be stopped. Raises what it raises."""
    run = asyncio.ensure_future(running)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({run, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    stop()
    await run


PARTS: Final[Mapping[str, Run]] = MappingProxyType(
    {"api": _run_api, "worker": _run_worker, "projector": _run_projector, "gateway": _run_gateway}
)
