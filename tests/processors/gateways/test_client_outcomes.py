"""Each way in which a call of the gateway can end, against a server that misbehaves in that way."""

import gzip
import hashlib
import socket
import ssl
from typing import NamedTuple

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey

from processors.gateways.client import NEVER_SENT_ERRNOS, Gateway, surely_never_sent
from processors.gateways.outcomes import Approved, Declined, NoClearAnswer, NotAccepted, Outcome, Unknown
from tests.processors.gateways.calls import CALL, HALF, OK, anyio_backend
from tests.support.gateways.misbehaving import (
    Behaviour,
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

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio


class Ending(NamedTuple):
    """One way a call can end, and its outcome."""

    name: str
    behaviour: Behaviour
    outcome: Outcome


LOST = Unknown("connection_lost")
PROTOCOL = Unknown("protocol_error")
UNREADABLE = Unknown("answer_unreadable")
TIMEOUT = Unknown("timeout")

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
        # Large pieces, so that the size limit is reached long before the deadline.
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
    Ending("status 429", answering(http("429 X", OK)), NotAccepted("gateway_error_429")),
    Ending("429 with a wait", answering(http("429 X", b"", "Retry-After: 7")), NotAccepted("gateway_error_429", 7.0)),
    Ending("503 with a wait", answering(http("503 X", b"", "Retry-After: 7")), Unknown("gateway_error_503", 7.0)),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_only_calls_without_an_effect_count_as_not_accepted(ending: Ending) -> None:
    """A call always ends with an outcome, within its deadline, and its request is never sent twice."""
    timeout_seconds = 0.5 if ending.outcome == Unknown("timeout") else 5.0
    with MisbehavingServer(ending.behaviour) as server:
        async with Gateway(server.url, timeout_seconds=timeout_seconds) as gateway:
            answer = await gateway.pay(CALL)

    assert ending.outcome == answer.outcome
    assert answer.elapsed_ms < 900
    assert server.connections == 1
    assert len(server.requests) <= 1


async def test_a_refused_connection_is_not_accepted() -> None:
    """Nobody listens on the port, so nothing was sent."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening, so that no other program takes the port

        async with Gateway(f"http://127.0.0.1:{bound.getsockname()[1]}", timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)
            inquiry = await gateway.inquire(1025, "payment-1025")

    assert NotAccepted("connection_refused") == answer.outcome
    assert NoClearAnswer("connection_refused") == inquiry.outcome
    assert (answer.http_status, answer.answer_digest) == (None, None)


async def test_a_name_that_is_not_resolved_is_not_accepted() -> None:
    """Without an address nothing can have been sent."""
    async with Gateway("http://gateway.invalid", timeout_seconds=30) as gateway:
        answer = await gateway.pay(CALL)

    assert NotAccepted("name_not_resolved") == answer.outcome


async def test_an_address_without_a_route_is_not_accepted() -> None:
    """A connection to the broadcast address is refused."""
    async with Gateway("http://255.255.255.255", timeout_seconds=5) as gateway:
        answer = await gateway.pay(CALL)

    assert NotAccepted("connection_failed") == answer.outcome


async def test_a_connection_that_is_not_accepted_times_out() -> None:
    """A listener with a full backlog lets the client wait. The deadline also covers connecting."""
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
    """A failure in the middle of TLS does not prove that nothing was sent."""
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
        (True, aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("x"))),
        (False, aiohttp.ClientConnectorError(KEY, ConnectionResetError(104, "x"))),
        (False, aiohttp.ClientConnectorError(KEY, ConnectionAbortedError("SSL handshake is taking too long"))),
        (False, aiohttp.ClientConnectorError(KEY, TimeoutError())),
        (False, aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x"))),
        (False, aiohttp.ClientProxyConnectionError(KEY, ConnectionRefusedError(111, "x"))),
        (False, aiohttp.ClientOSError(111, "x")),
        (False, aiohttp.ServerDisconnectedError()),
        (False, aiohttp.ConnectionTimeoutError()),
        (False, ConnectionRefusedError(111, "x")),
        (False, None),
    ],
)
def test_only_listed_causes_prove_that_nothing_was_sent(cause: Exception | None, *, never_sent: bool) -> None:
    """The transport's own name for an error proves nothing; most of these are a ConnectTimeout."""
    error = httpx.ConnectTimeout("x")
    error.__cause__ = cause

    assert never_sent == surely_never_sent(error)


async def test_status_and_digest_are_kept_of_a_call_cut_short() -> None:
    """The history keeps the seen part of an answer, even if the answer never ended."""
    with MisbehavingServer(closing_after(HALF)) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert answer.http_status == 200
    assert hashlib.sha256(b'{"status":"ok"').hexdigest() == answer.answer_digest
