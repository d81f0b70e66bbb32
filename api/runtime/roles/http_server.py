"""Serves an ASGI application over HTTP until the part is asked to stop."""

import asyncio
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from api.runtime.ports import address_of, ensure_free

DRAIN_SECONDS: Final = 2.0
"""How long requests under way may take when the API is asked to stop; they take milliseconds."""

HEAD_BYTES_MAX: Final = 64 * 1024
"""How long the address and the headers of a request may be together. The server answers longer ones by itself."""

HEAD_SECONDS_MAX: Final = 30
"""How long the address and the headers of a request may take on a connection that is not kept."""

CLOSE_AFTER_SECONDS: Final = 5
"""How much longer than it tells clients the server keeps an idle connection.

A client that heeds the `Keep-Alive` header has stopped using the connection by then, so no request of it meets the
close, however long it was on its way.
"""

OTHER_FILES: Final = 512
"""Files that the process may have open beside the connections of clients."""

_BACKLOG: Final = 1024
_log = structlog.get_logger()


async def serve_http(
    app: Any,  # noqa: ANN401 - ASGI
    *,
    host: str,
    port: int,
    keep_alive_seconds: int,
    connections_max: int,
    stopping: asyncio.Event,
    tls: tuple[Path, Path] | None = None,
) -> None:
    """Serve an ASGI application until `stopping`, and then answer the requests under way.

    With `tls`, the files of a certificate and of its key, it speaks TLS only. An idle connection is kept for
    `keep_alive_seconds` and somewhat longer; 0 closes each one after its answer. Beyond `connections_max` connections,
    further ones wait in the backlog until one is closed.

    Call this inside the application's own lifespan, so that the lifespan ends after the last answer, even on an error.
    """
    ensure_free(host, port)
    _allow_open_files(connections_max + OTHER_FILES)
    server = Server(
        app,
        address=address_of(host),
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=_http1_settings(keep_alive_seconds),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=connections_max,  # Granian counts connections
        log_enabled=False,
        ssl_cert=None if tls is None else tls[0],
        ssl_key=None if tls is None else tls[1],
        ssl_protocol_min=SSLProtocols.tls12,
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


def _allow_open_files(count: int) -> None:
    """Let this process open so many files, as far as the system lets it. Many systems start with 1,024.

    A server that has none left can accept no connection, and closes none either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count:
        _log.warning("few_open_files", allowed=wanted, wanted=count)


def _http1_settings(keep_alive_seconds: int) -> HTTP1Settings:
    """Give the server's settings. It has one limit for idle connections and for heads that come slowly."""
    seconds = keep_alive_seconds + CLOSE_AFTER_SECONDS if keep_alive_seconds else HEAD_SECONDS_MAX
    return HTTP1Settings(
        keep_alive=keep_alive_seconds > 0, header_read_timeout=seconds * 1000, max_buffer_size=HEAD_BYTES_MAX
    )
