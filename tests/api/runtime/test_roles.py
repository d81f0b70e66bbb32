"""Serving HTTP in a part: open requests are answered when it is stopped, and nothing delays the stop."""

import asyncio
import importlib
import inspect
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.runtime.ports import CannotListen, PortTaken, ensure_free
from api.runtime.roles.http_server import (
    CLOSE_AFTER_SECONDS,
    DRAIN_SECONDS,
    HEAD_SECONDS_MAX,
    _http1_settings,
    serve_http,
)
from api.runtime.roles.running import ROLES, role_of
from api.settings import Settings
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

SLOW_SECONDS = 0.5


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_module_that_runs_it(role: str) -> None:
    """Until it is asked to stop: with the settings, the partitions and the wish to stop."""
    run = importlib.import_module(ROLES[role]).run

    assert inspect.iscoroutinefunction(run)
    assert list(inspect.signature(run).parameters) == ["settings", "partitions", "stopping"]


@pytest.mark.parametrize(
    ("part", "environ", "role"),
    [
        ("api", {}, "api"),
        ("worker", {}, "worker"),
        ("projector", {}, "projector"),
        ("gateway", {}, "demo_gateway"),
        ("gateway", {"DEMO_GATEWAY_KIND": "chaos", "DEMO_GATEWAY_SEED": "7"}, "chaos_gateway"),
    ],
)
def test_a_part_has_one_role_and_the_gateway_that_of_its_kind(part: str, environ: dict[str, str], role: str) -> None:
    """Only the gateway's depends on the settings."""
    assert role == role_of(part, Settings.load(environ))
    assert role in ROLES


async def slow_app(_: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Read the whole body, wait, and answer."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(SLOW_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


class Serving:
    """A server under test. `stopping` stops it, and `ended` is done when it has stopped."""

    def __init__(self, host: str, keep_alive_seconds: int, connections_max: int) -> None:
        self.host, self.port = host, free_port()
        self.stopping = asyncio.Event()
        serve = serve_http(
            slow_app,
            host=host,
            port=self.port,
            keep_alive_seconds=keep_alive_seconds,
            connections_max=connections_max,
            stopping=self.stopping,
        )
        self.ended = asyncio.create_task(serve)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection as soon as the server listens."""
        while not self.ended.done():
            try:
                return await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.01)
        raise AssertionError(self.ended.exception())


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1", *, keep_alive_seconds: int = 75, connections_max: int = 100
) -> AsyncIterator[Serving]:
    server = Serving(host, keep_alive_seconds, connections_max)
    yield server
    server.stopping.set()
    await server.ended


async def test_an_open_request_is_answered_before_the_end() -> None:
    """The connection is closed, so that the client sends no further request on it."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(SLOW_SECONDS / 2)

        server.stopping.set()
        answer = await reader.read()
        await server.ended

        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"done")
        writer.close()


async def test_new_connections_are_refused_while_it_stops() -> None:
    """A refused connection tells the client at once to go elsewhere."""
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(SLOW_SECONDS / 2)

        server.stopping.set()
        await asyncio.sleep(SLOW_SECONDS / 4)

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(server.host, server.port)
        writer.close()


async def test_an_unfinished_body_does_not_delay_the_stop() -> None:
    """It is disconnected once other clients have had time to finish."""
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(SLOW_SECONDS / 2)

        began = time.monotonic()
        server.stopping.set()
        await server.ended

        assert time.monotonic() - began < DRAIN_SECONDS + 1
        writer.close()


async def test_an_idle_connection_does_not_delay_the_stop() -> None:
    """Clients keep connections open for their next request."""
    async with serving() as server:
        _, writer = await server.connect()

        began = time.monotonic()
        server.stopping.set()
        await server.ended

        assert time.monotonic() - began < DRAIN_SECONDS / 2
        writer.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])  # noqa: S104 - for a moment
async def test_a_host_may_be_a_name_or_an_address(host: str) -> None:
    """`HOST` accepts both."""
    async with serving(host) as server:
        _, writer = await server.connect()
        writer.close()

        assert not server.ended.done()


async def test_a_port_is_not_shared_with_another_program() -> None:
    """Two programs that listen on one port would each get half of the requests."""
    async with serving() as first:
        _, writer = await first.connect()
        writer.close()

        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{first.port} is taken"):
            async with asyncio.timeout(DRAIN_SECONDS):
                await serve_http(
                    slow_app,
                    host=first.host,
                    port=first.port,
                    keep_alive_seconds=75,
                    connections_max=100,
                    stopping=asyncio.Event(),
                )


async def test_a_connection_too_many_waits_until_another_one_is_closed() -> None:
    """It is neither answered nor refused while the others are open, so connections cost a bounded memory."""
    request = b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n"
    async with serving(connections_max=2) as server:
        (first, first_writer), (second, second_writer) = [await server.connect() for _ in range(2)]
        for reader, writer in ((first, first_writer), (second, second_writer)):
            writer.write(request)
            await reader.readuntil(b"done")

        third, third_writer = await server.connect()
        third_writer.write(request)
        waiting = asyncio.create_task(third.readuntil(b"done"))
        second_writer.write(request)
        await second.readuntil(b"done")
        waited = not waiting.done()
        first_writer.close()
        answer = await waiting

        assert waited
        assert answer.startswith(b"HTTP/1.1 200")
        second_writer.close()
        third_writer.close()


async def test_an_idle_connection_is_closed_only_after_its_clients_have_given_it_up() -> None:
    """The server keeps it longer than it says, so that no request that a client still sends meets the close."""
    async with serving(keep_alive_seconds=1) as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
        answered = time.monotonic()

        rest = await reader.read()

        assert rest == b""
        assert time.monotonic() - answered > 1
        writer.close()


async def test_no_connection_is_kept_when_nobody_wants_that() -> None:
    """The answer says that the connection ends, and it does."""
    async with serving(keep_alive_seconds=0) as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        answer = await reader.read()

        assert b"connection: close" in answer.lower()
        writer.close()


@pytest.mark.parametrize("seconds", [0, 1, 75, 3_600])
def test_the_server_keeps_a_connection_longer_than_it_says(seconds: int) -> None:
    """By a margin for requests on their way. Without kept connections, heads have a limit of their own."""
    settings = _http1_settings(seconds)

    assert settings.keep_alive == (seconds > 0)
    assert settings.header_read_timeout == (HEAD_SECONDS_MAX if seconds == 0 else seconds + CLOSE_AFTER_SECONDS) * 1000


async def test_connections_in_time_wait_do_not_keep_a_port() -> None:
    """A killed run leaves such connections, and they last for a minute."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener, socket.create_connection(("127.0.0.1", port)) as client:
        server_side, _ = listener.accept()
        server_side.close()  # the side that closes first keeps the connection in TIME_WAIT
        client.recv(1)

    ensure_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    """The service cannot listen on an address of another machine, or on an unknown name."""
    with pytest.raises(CannotListen, match=host):
        ensure_free(host, free_port())
