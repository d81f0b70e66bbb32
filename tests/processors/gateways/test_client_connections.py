"""Connections to the gateway are reused, and a reused connection never pays twice or mixes up answers."""

import asyncio
import threading
import time

import pytest

from processors.gateways.client import Gateway
from processors.gateways.outcomes import Approved, Declined, Unknown
from tests.processors.gateways.calls import CALL, OK, anyio_backend
from tests.support.gateways.misbehaving import Connection, MisbehavingServer, answering, closing_after, dripping, http

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio


async def test_connections_are_used_again() -> None:
    """A hundred calls in a row open one connection."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            for _ in range(100):
                assert (await gateway.pay(CALL)).error is None

    assert (server.connections, len(server.requests)) == (1, 100)


async def test_an_unfinished_answer_does_not_spoil_the_next_call() -> None:
    """A connection with an unfinished answer is closed, and not used again."""
    too_large, good = dripping(http("200 OK", b" " * 100_000), sent_at_once=99_000), answering(http("200 OK", OK))

    def behave(connection: Connection) -> None:
        (too_large if connection.server.connections == 1 else good)(connection)

    with MisbehavingServer(behave) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            first, second = await gateway.pay(CALL), await gateway.pay(CALL)

    assert Unknown("answer_too_large") == first.outcome
    assert Approved("gw-1") == second.outcome
    assert server.connections == 2


async def test_a_post_on_a_connection_closed_as_it_is_used_again_is_never_sent_twice() -> None:
    """The gateway may have read the request before it closed, so only the worker may decide to send it again."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(http("200 OK", OK))
        connection.read_request()

    with MisbehavingServer(behave) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            first, second = await gateway.pay(CALL), await gateway.pay(CALL)

    assert Approved("gw-1") == first.outcome
    assert Unknown("connection_lost") == second.outcome
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_connection_whose_close_was_not_noticed_is_replaced() -> None:
    """Our event loop has not seen the close yet. The client checks the socket first, which avoids a needless doubt."""
    closed = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(http("200 OK", OK))
        connection.pause(0.1)
        connection.sock.close()
        closed.set()

    with MisbehavingServer(behave) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.pay(CALL)
            assert closed.wait(5)  # blocks the event loop on purpose, so that it does not see the close
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == second.outcome
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("seen", [True, False], ids=["read by the event loop", "not read yet"])
async def test_a_surplus_answer_does_not_answer_the_next_call(*, seen: bool) -> None:
    """A second answer to the first payment must not approve the second payment, which is declined here."""
    sent = threading.Event()

    def behave(connection: Connection) -> None:
        if connection.server.connections > 1:
            return answering(http("200 OK", b'{"status":"declined"}'))(connection)
        connection.read_request()
        connection.send(http("200 OK", OK))
        connection.pause(0.1)  # long enough for the first call to have ended
        connection.send(http("200 OK", OK))
        sent.set()
        return connection.hold()

    with MisbehavingServer(behave) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            first = await gateway.pay(CALL)
            assert sent.wait(5)  # blocks the event loop on purpose
            if seen:
                await asyncio.sleep(0.1)
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == first.outcome
    assert Declined("declined") == second.outcome
    assert server.connections == 2


async def test_an_inquiry_on_a_connection_closed_as_it_is_used_again_is_asked_again() -> None:
    """A GET is sent again by aiohttp itself, which changes nothing at the gateway and avoids a needless doubt."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(http("200 OK", OK))
        connection.read_request()

    with MisbehavingServer(behave) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.inquire(1, "payment-1")
            second = await gateway.inquire(1, "payment-1")

    assert Approved("gw-1") == second.outcome
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_connection_whose_close_was_noticed_is_replaced() -> None:
    """A close that was noticed while the connection was idle has no effect on the next call."""
    with MisbehavingServer(closing_after(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.pay(CALL)
            await asyncio.sleep(0.1)
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == second.outcome
    assert (server.connections, len(server.requests)) == (2, 2)


async def test_many_calls_run_at_once() -> None:
    """Up to `connections_max` calls do not wait for each other."""

    def slow(connection: Connection) -> None:
        while connection.read_request():
            connection.pause(0.2)
            connection.send(http("200 OK", OK))

    with MisbehavingServer(slow) as server:
        async with Gateway(server.url, timeout_seconds=5, connections_max=32) as gateway:
            started = time.monotonic()
            answers = await asyncio.gather(*(gateway.pay(CALL) for _ in range(32)))

    assert {Approved("gw-1")} == {answer.outcome for answer in answers}
    assert time.monotonic() - started < 32 * 0.2 / 2
