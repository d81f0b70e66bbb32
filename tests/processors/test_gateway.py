"""Every way in which a call of the gateway can end, against a server that misbehaves in that way."""

import asyncio
import gzip
import hashlib
import json
import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey

from processors.gateway import (
    NEVER_SENT_ERRNOS,
    Gateway,
    PayCall,
    retry_after_seconds,
    surely_never_sent,
)
from processors.outcomes import Approved, Declined, NoClearAnswer, Outcome, TurnedAway, Unknown
from tests.processors.misbehaving_server import (
    Behaviour,
    Connection,
    MisbehavingServer,
    answering,
    closing_after,
    closing_before_reading,
    dripping,
    http,
    never_answering,
    repeating,
    resetting_after,
    resetting_before_reading,
)

pytestmark = pytest.mark.anyio

OK = b'{"status":"ok","reference":"gw-1"}'
CALL = PayCall(
    payment_id=1025,
    user_id=7,
    kind="deposit",
    amount_minor=20000,
    fee_minor=400,
    currency="USD",
    gateway_key="payment-1025",
)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both event loops, since they report a broken connection in different ways."""
    return "asyncio", {"use_uvloop": request.param}


class Ending(NamedTuple):
    """One way a call can end, and what it tells."""

    name: str
    behaviour: Behaviour
    outcome: Outcome


LOST = Unknown("connection_lost")
PROTOCOL = Unknown("protocol_error")
UNREADABLE = Unknown("answer_unreadable")
TIMEOUT = Unknown("timeout")
HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status":"ok"'

ENDINGS = [
    Ending("approved", answering(http("200 OK", OK)), Approved("gw-1")),
    Ending(
        "approved without length, closed at the end", closing_after(b"HTTP/1.1 200 OK\r\n\r\n" + OK), Approved("gw-1")
    ),
    Ending("declined", answering(http("200 OK", b'{"status":"declined"}')), Declined("declined")),
    Ending("pending", answering(http("202 Accepted", b'{"status":"pending"}')), Unknown("pending")),
    Ending("says time-out", answering(http("200 OK", b'{"status":"timeout"}')), Unknown("timeout")),
    # the connection
    Ending("closed before the request was read", closing_before_reading, LOST),
    Ending("reset before the request was read", resetting_before_reading, LOST),
    Ending("closed after the request was read", closing_after(b""), LOST),
    Ending("reset after the request was read", resetting_after(b""), LOST),
    Ending("closed within the status line", closing_after(b"HTTP/1.1 2"), LOST),
    Ending("closed within the headers", closing_after(b"HTTP/1.1 200 OK\r\nContent-"), LOST),
    Ending("closed within the body", closing_after(HALF), LOST),
    Ending("reset within the body", resetting_after(HALF), LOST),
    Ending("closed within a refusal", closing_after(HALF.replace(b"200 OK", b"402 NO")), LOST),
    Ending("closed within a 429", closing_after(HALF.replace(b"200 OK", b"429 NO")), LOST),
    Ending(
        "closed within a chunk",
        closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\n" + OK),
        LOST,
    ),
    # the deadline
    Ending("never answered", never_answering, TIMEOUT),
    Ending("dripping headers", dripping(b"HTTP/1.1 200 OK\r\nX-Drip: " + b"x" * 1000), TIMEOUT),
    Ending("dripping body", dripping(http("200 OK", b" " * 1000 + OK), sent_at_once=60), TIMEOUT),
    Ending("dripping refusal", dripping(http("402 NO", b" " * 1000), sent_at_once=60), TIMEOUT),
    Ending("dripping 429", dripping(http("429 NO", b" " * 1000), sent_at_once=60), TIMEOUT),
    Ending("100 Continue for ever", dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, sent_at_once=50), TIMEOUT),
    # the protocol
    Ending("garbage for a status line", closing_after(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), PROTOCOL),
    Ending("garbage for a status", closing_after(b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"), PROTOCOL),
    Ending("garbage for a reason", answering(http("200 \xff\xfe\r", OK)), PROTOCOL),
    Ending("garbage for a length", closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + OK), PROTOCOL),
    Ending(
        "two lengths", closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + http("200 OK", OK)[17:]), PROTOCOL
    ),
    Ending("a huge header", closing_after(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"), PROTOCOL),
    Ending("very many headers", closing_after(http("200 OK", OK, *[f"X-{n}: y" for n in range(20_000)])), PROTOCOL),
    Ending("100 Continue first", answering(b"HTTP/1.1 100 Continue\r\n\r\n" + http("200 OK", OK)), Approved("gw-1")),
    Ending("103 Early Hints first", answering(b"HTTP/1.1 103 Hints\r\n\r\n" + http("200 OK", OK)), Approved("gw-1")),
    # the body
    Ending("no content", answering(b"HTTP/1.1 204 No Content\r\n\r\n"), UNREADABLE),
    Ending("an empty body", answering(http("200 OK")), UNREADABLE),
    Ending("no JSON", answering(http("200 OK", b"<html>OK</html>", "Content-Type: text/html")), UNREADABLE),
    Ending(
        "compressed without being asked",
        answering(http("200 OK", gzip.compress(OK), "Content-Encoding: gzip")),
        UNREADABLE,
    ),
    Ending("in UTF-16", answering(http("200 OK", OK.decode().encode("utf-16"))), UNREADABLE),
    Ending("nested 30,000 deep", answering(http("200 OK", b"[" * 30_000)), UNREADABLE),
    Ending(
        "a huge body",
        repeating(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b" " * 100_000, times=1000),
        Unknown("answer_too_large"),
    ),
    Ending(
        "an endless chunked body",
        # Large ones, so that the bound is reached long before the time is.
        repeating(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2000\r\n" + 0x2000 * b" " + b"\r\n", times=1_000
        ),
        Unknown("answer_too_large"),
    ),
    # the status
    Ending("switching protocols", closing_after(b"HTTP/1.1 101 Switching\r\n\r\n"), Unknown("gateway_error_101")),
    *(
        Ending(f"status {status}", answering(http(f"{status} X", OK)), Unknown(f"gateway_error_{status}"))
        for status in (300, 303, 308, 408, 409, 425, 500, 501, 502, 503, 504, 599, 600, 999)
    ),
    *(
        Ending(f"status {status}", answering(http(f"{status} X", OK)), Declined(f"gateway_error_{status}"))
        for status in (400, 401, 402, 403, 404, 405, 410, 418, 422, 451, 499)
    ),
    Ending("status 429", answering(http("429 X", OK)), TurnedAway("gateway_error_429")),
    Ending("429 with a wait", answering(http("429 X", b"", "Retry-After: 7")), TurnedAway("gateway_error_429", 7.0)),
    Ending("503 with a wait", answering(http("503 X", b"", "Retry-After: 7")), Unknown("gateway_error_503", 7.0)),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_only_what_surely_had_no_effect_counts_as_turned_away(ending: Ending) -> None:
    """However a call ends, it ends as data, within its deadline, and the request was never sent twice."""
    timeout_seconds = 0.5 if ending.outcome == Unknown("timeout") else 5.0
    with MisbehavingServer(ending.behaviour) as server:
        async with Gateway(server.url, timeout_seconds=timeout_seconds) as gateway:
            answer = await gateway.pay(CALL)

    assert ending.outcome == answer.outcome
    assert answer.elapsed_ms < 900
    assert server.connections == 1
    assert len(server.requests) <= 1


async def test_a_refused_connection_is_turned_away() -> None:
    """A port on which nobody listens gets nothing."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening, so that nobody else takes the port meanwhile

        async with Gateway(f"http://127.0.0.1:{bound.getsockname()[1]}", timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)
            inquiry = await gateway.inquire(1025, "payment-1025")

    assert TurnedAway("connection_refused") == answer.outcome
    assert NoClearAnswer("connection_refused") == inquiry.outcome
    assert (answer.http_status, answer.answer_digest) == (None, None)


async def test_a_name_that_is_not_resolved_is_turned_away() -> None:
    """Without an address nothing can have been sent."""
    async with Gateway("http://gateway.invalid", timeout_seconds=30) as gateway:
        answer = await gateway.pay(CALL)

    assert TurnedAway("name_not_resolved") == answer.outcome


async def test_an_address_without_a_route_is_turned_away() -> None:
    """No connection goes to the broadcast address."""
    async with Gateway("http://255.255.255.255", timeout_seconds=5) as gateway:
        answer = await gateway.pay(CALL)

    assert TurnedAway("connection_failed") == answer.outcome


async def test_a_connection_that_nobody_takes_up_ends_by_the_deadline() -> None:
    """A listener with a full backlog lets the client wait; the deadline counts for connecting, too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        async with Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3) as gateway:
            answer = await gateway.pay(CALL)
        for filler in fillers:
            filler.close()

    assert answer.outcome == TIMEOUT


async def test_a_server_that_speaks_no_tls_is_unknown() -> None:
    """What goes wrong in the middle of TLS is not on the list of sure causes."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url.replace("http:", "https:"), timeout_seconds=1) as gateway:
            answer = await gateway.pay(CALL)

    assert isinstance(answer.outcome, Unknown)
    assert answer.error in {"tls_failed", "timeout", "connection_lost"}


KEY = ConnectionKey("gateway", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)


@pytest.mark.parametrize(
    ("never_sent", "cause"),
    [
        *((True, aiohttp.ClientConnectorError(KEY, OSError(number, "x"))) for number in sorted(NEVER_SENT_ERRNOS)),
        (True, aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions: [Errno 101] x, [Errno 111] y"))),
        (True, aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "x"))),
        (False, aiohttp.ClientConnectorError(KEY, ConnectionResetError(104, "x"))),
        (False, aiohttp.ClientConnectorError(KEY, ConnectionAbortedError("SSL handshake is taking too long"))),
        (False, aiohttp.ClientConnectorError(KEY, TimeoutError())),
        (False, aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x"))),
        (False, aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("x"))),
        (False, aiohttp.ClientProxyConnectionError(KEY, ConnectionRefusedError(111, "x"))),
        (False, aiohttp.ClientOSError(111, "x")),
        (False, aiohttp.ServerDisconnectedError()),
        (False, aiohttp.ConnectionTimeoutError()),
        (False, ConnectionRefusedError(111, "x")),
        (False, None),
    ],
)
def test_only_listed_causes_prove_that_nothing_was_sent(cause: Exception | None, *, never_sent: bool) -> None:
    """The transport's own name for an error proves nothing; it is ConnectTimeout for most of these."""
    error = httpx.ConnectTimeout("x")
    error.__cause__ = cause

    assert never_sent == surely_never_sent(error)


async def test_the_request_is_the_originals_with_key_and_trace() -> None:
    """The body has exact decimals, never floats, and the headers carry the series' key."""
    call = PayCall(
        payment_id=1025,
        user_id=7,
        kind="withdraw",
        amount_minor=10**15,
        fee_minor=1,
        currency="USD",
        gateway_key="payment-1025-2",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url + "/api/", timeout_seconds=5) as gateway:
            await gateway.pay(call)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/pay HTTP/1.1"
    assert "idempotency-key: payment-1025-2" in lines
    assert "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" in lines
    assert "content-type: application/json" in lines
    assert body == (b'{"payment_id":1025,"user_id":7,"amount":10000000000000.00,"commission":0.01,"type":"withdraw"}')
    assert json.loads(body, parse_float=Decimal)["amount"] == Decimal("10000000000000.00")


async def test_an_inquiry_asks_under_the_series_key() -> None:
    """The gateway is asked about a payment by its id, under the key of one series."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.inquire(1025, "payment-1025-2")

    assert server.requests[0].startswith(b"GET /payments/1025 HTTP/1.1\r\n")
    assert b"\r\nidempotency-key: payment-1025-2\r\n" in server.requests[0]
    assert Approved("gw-1") == answer.outcome


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (http("200 OK", b'{"status":"ok"}'), Approved(None)),
        (http("200 OK", b'{"status":"declined"}'), Declined("declined")),
        (http("404 X", b'{"status":"not_found"}'), Declined("not_found")),
        (http("404 X"), NoClearAnswer("gateway_error_404")),
        (http("404 X", b'{"status":"declined"}'), NoClearAnswer("gateway_error_404")),
        (http("404 X", b'{"status":"ok"}'), NoClearAnswer("gateway_error_404")),
        (http("410 X", b'{"status":"not_found"}'), NoClearAnswer("gateway_error_410")),
        (http("200 OK", b'{"status":"not_found"}'), NoClearAnswer("answer_unreadable")),
        (http("200 OK", b'{"status":"pending"}'), NoClearAnswer("pending")),
        (http("200 OK", b'{"status":"timeout"}'), NoClearAnswer("timeout")),
        (http("200 OK", b" " * 70_000), NoClearAnswer("answer_too_large")),
        (http("429 X", b'{"status":"declined"}'), NoClearAnswer("gateway_error_429")),
        (http("500 X", b'{"status":"ok"}'), NoClearAnswer("gateway_error_500")),
    ],
)
async def test_only_plain_words_answer_an_inquiry(raw: bytes, outcome: object) -> None:
    """An inquiry is answered by ok, declined, or a 404 that says not_found; all else is no clear answer."""
    with MisbehavingServer(answering(raw)) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.inquire(1, "payment-1")

    assert outcome == answer.outcome


async def test_a_redirect_is_not_followed() -> None:
    """Money is asked for at one address only; a redirect is an answer that we do not understand."""
    with MisbehavingServer(answering(http("307 X", b"", "Location: /elsewhere"))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Unknown("gateway_error_307") == answer.outcome
    assert len(server.requests) == 1


async def test_connections_are_used_again() -> None:
    """A hundred calls in a row open one connection."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            for _ in range(100):
                assert (await gateway.pay(CALL)).error is None

    assert (server.connections, len(server.requests)) == (1, 100)


async def test_an_unfinished_answer_does_not_spoil_the_next_call() -> None:
    """A connection left in the middle of an answer is closed, not used again."""
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
    """The gateway may have read the request before it closed, so that only the worker may decide to send it again."""

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


async def test_a_connection_closed_unnoticed_is_replaced() -> None:
    """Our event loop has not seen the gateway close it yet; a look at the socket saves a needless doubt."""
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
            assert closed.wait(5)  # on purpose in the way of the event loop: it must not see the close
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == second.outcome
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("seen", [True, False], ids=["read by the event loop", "not read yet"])
async def test_an_answer_to_nothing_is_not_taken_for_that_of_the_next_call(*, seen: bool) -> None:
    """A second answer to the first payment is not the second payment's approval, which here is declined."""
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
            assert sent.wait(5)  # on purpose in the way of the event loop
            if seen:
                await asyncio.sleep(0.1)
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == first.outcome
    assert Declined("declined") == second.outcome
    assert server.connections == 2


async def test_an_inquiry_on_a_connection_closed_as_it_is_used_again_is_asked_again() -> None:
    """A GET is sent once more by aiohttp itself, which changes nothing at the gateway and saves a needless doubt."""

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


async def test_a_connection_seen_closed_is_replaced() -> None:
    """A close that was noticed while the connection was idle costs nothing."""
    with MisbehavingServer(closing_after(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.pay(CALL)
            await asyncio.sleep(0.1)
            second = await gateway.pay(CALL)

    assert Approved("gw-1") == second.outcome
    assert (server.connections, len(server.requests)) == (2, 2)


async def test_cookies_are_not_kept() -> None:
    """What the gateway wants remembered is not."""
    with MisbehavingServer(answering(http("200 OK", OK, "Set-Cookie: session=1; Path=/"))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.pay(CALL)
            await gateway.pay(CALL)

    assert b"cookie" not in server.requests[1].lower()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets a proxy for a shell does not reroute money."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Approved("gw-1") == answer.outcome


async def test_user_and_password_of_the_url_are_sent_as_basic_authentication() -> None:
    """`http://user:password@host` works, and does not break every call."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url.replace("//", "//me:secret@"), timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Approved("gw-1") == answer.outcome
    assert b"\r\nauthorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8001", "ftp://host", "http://", "http://h/?a=1", "http://h/#x", "http://[::1"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    """A wrong setting is found at start, not by the first payment."""
    with pytest.raises(ValueError, match="the gateway's URL"):
        Gateway(url, timeout_seconds=1)


async def test_a_call_under_way_can_be_cancelled() -> None:
    """Cancellation is the one thing that passes through."""
    with MisbehavingServer(never_answering) as server:
        async with Gateway(server.url, timeout_seconds=30) as gateway:
            call = asyncio.create_task(gateway.pay(CALL))
            await asyncio.to_thread(server.heard.wait, 10)
            call.cancel()

            with pytest.raises(asyncio.CancelledError):
                await call


async def test_status_and_digest_are_kept_of_a_call_cut_short() -> None:
    """The history tells what was seen of an answer, even when it never ended."""
    with MisbehavingServer(closing_after(HALF)) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert answer.http_status == 200
    assert hashlib.sha256(b'{"status":"ok"').hexdigest() == answer.answer_digest


async def test_many_calls_run_at_once() -> None:
    """Calls do not wait for each other up to connections_max."""

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


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "9999"}, 3600.0),
        ({"retry-after": "9" * 5000}, 3600.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "7.5"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 8"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Monday, 23-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2099 12:00:00 GMT"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2300"}, None),
        ({"retry-after": "Mon, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:30 GMT", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": "yesterday"}, 30.0),
    ],
)
def test_a_wait_is_read_in_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """A date counts from the answer's own date, else from our clock; what cannot be read is no wish."""
    assert seconds == retry_after_seconds(headers, now=NOW)
