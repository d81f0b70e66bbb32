"""Serving HTTP as a part does: what is under way when it is asked to stop is answered, and nothing holds it up."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.ports import CannotListen, PortTaken, ensure_free
from api.standalone import DRAIN_SECONDS, serve_http
from tests.ports import free_port

pytestmark = pytest.mark.anyio

SLOW_SECONDS = 0.5


async def slow_app(_: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Read the whole body, take its time, and answer."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(SLOW_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


class Serving:
    """A server under test: stopped by `stopping`, and `ended` when it is done."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, free_port()
        self.stopping = asyncio.Event()
        self.ended = asyncio.create_task(serve_http(slow_app, host=host, port=self.port, stopping=self.stopping))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, as soon as that is possible."""
        while not self.ended.done():
            try:
                return await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.01)
        raise AssertionError(self.ended.exception())


@asynccontextmanager
async def serving(host: str = "127.0.0.1") -> AsyncIterator[Serving]:
    server = Serving(host)
    yield server
    server.stopping.set()
    await server.ended


async def test_a_request_under_way_is_answered_before_the_end() -> None:
    """And its connection is closed, so that the client sends no further one into the void."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n")
        await asyncio.sleep(SLOW_SECONDS / 2)

        server.stopping.set()
        answer = await reader.read()
        await server.ended

        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"done")
        writer.close()


async def test_nobody_new_is_let_in_while_it_stops() -> None:
    """A connection that is refused tells its client at once to go elsewhere."""
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n")
        await asyncio.sleep(SLOW_SECONDS / 2)

        server.stopping.set()
        await asyncio.sleep(SLOW_SECONDS / 4)

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(server.host, server.port)
        writer.close()


async def test_a_client_that_never_sends_all_of_its_body_holds_nothing_up() -> None:
    """It is cut off when the others have had their time."""
    async with serving() as server:
        _, writer = await server.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: ledger\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(SLOW_SECONDS / 2)

        began = time.monotonic()
        server.stopping.set()
        await server.ended

        assert time.monotonic() - began < DRAIN_SECONDS + 1
        writer.close()


async def test_an_idle_connection_holds_nothing_up() -> None:
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
    """`HOST` takes both."""
    async with serving(host) as server:
        _, writer = await server.connect()
        writer.close()

        assert not server.ended.done()


async def test_a_port_is_not_shared_with_another_program() -> None:
    """Two that listen on one port would each get half of the requests."""
    async with serving() as first:
        _, writer = await first.connect()
        writer.close()

        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{first.port} is taken"):
            async with asyncio.timeout(DRAIN_SECONDS):
                await serve_http(slow_app, host=first.host, port=first.port, stopping=asyncio.Event())


async def test_connections_that_linger_do_not_keep_a_port() -> None:
    """They are left by a run that was killed, and last for a minute."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener, socket.create_connection(("127.0.0.1", port)) as client:
        server_side, _ = listener.accept()
        server_side.close()  # who closes first is the one who lingers
        client.recv(1)

    ensure_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
async def test_a_place_that_is_not_ours_is_named(host: str) -> None:
    """Neither an address of another machine nor a name that means nothing can be listened on."""
    with pytest.raises(CannotListen, match=host):
        ensure_free(host, free_port())
