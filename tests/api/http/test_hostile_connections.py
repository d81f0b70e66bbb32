"""Hostile connections: bytes that no client library would send, over a real connection to a real API process.

Each request is answered without a 5xx, with a problem that says why it is refused, and has no effect. A few broken
requests never reach the application, because the HTTP server answers them itself. They are listed here one by one.
"""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from ledger.store.database import Database
from tests.support.databases import fresh_ledger, traces
from tests.support.services import serving_api

ANSWER_SECONDS_MAX: Final = 20.0

BODY: Final = b'{"user_id": 1, "deposit": 5}'
CHUNKED: Final = b"1c\r\n" + BODY + b"\r\n0\r\n\r\n"
MEBIBYTE: Final = 1024 * 1024


class Answer(NamedTuple):
    """An answer as it came, and whether the server then closed the connection."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    closed: bool

    @property
    def code(self) -> str | None:
        """The problem's code, if the answer is a problem."""
        return (
            str(json.loads(self.body)["code"]) if self.headers["Content-Type"] == "application/problem+json" else None
        )


class RawClient:
    """The API's address, where a test can send any bytes."""

    def __init__(self, port: int, database: Database) -> None:
        self.port = port
        self._database = database

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS_MAX)

    def send(self, request: bytes) -> Answer:
        """Send some bytes, and return the first answer."""
        with self.connect() as connection:
            connection.sendall(request)
            return receive(connection)

    def traces(self) -> tuple[int, ...]:
        """Count the effects of all requests so far."""
        return traces(self._database)


def receive(connection: socket.socket, *, method: str = "GET") -> Answer:
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    body = answer.read()
    return Answer(answer.status, answer.headers, body, answer.will_close)


@pytest.fixture(scope="module")
def raw(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawClient]:
    """Yield the address of an API with one user."""
    directory: Path = tmp_path_factory.mktemp("api")
    with fresh_ledger(postgres_url) as database, serving_api(database, directory) as url:
        raw = RawClient(int(url.rpartition(":")[2]), database)
        assert raw.send(post(b'{"balance": 1000}', path="/api/v1/users")).status == HTTPStatus.CREATED
        yield raw


@pytest.fixture
def unaffected(raw: RawClient) -> Iterator[RawClient]:
    """Yield the same address, and check afterwards that nothing had an effect."""
    before = raw.traces()
    yield raw
    assert raw.traces() == before


def post(body: bytes = BODY, *headers: str, path: str = "/api/v1/payments/deposit", length: bool = True) -> bytes:
    own = [f"Content-Length: {len(body)}"] if length else []
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, *own]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: bytes = b"/livez", *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"%b %b %b" % (method, path, version), b"Host: localhost", *headers, b"", b""])


def named(value: Any) -> str | None:
    """Name a case by the first bytes that are sent."""
    return repr(value[:70])[2:-1] if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        # bodies that contradict their headers
        (post(b""), 400, "request_malformed"),
        (post(length=False), 400, "request_malformed"),
        (post(BODY, "Content-Length: 5", length=False), 400, "request_malformed"),
        (post(CHUNKED, "Transfer-Encoding: gzip, chunked", length=False), 400, "request_malformed"),
        (post(CHUNKED, *["Transfer-Encoding: chunked"] * 2, length=False), 400, "request_malformed"),
        (post(b"zz\r\n" + BODY, "Transfer-Encoding: chunked", length=False), 400, "request_malformed"),
        (post(b"5\r\n" + BODY, "Transfer-Encoding: chunked", length=False), 400, "request_malformed"),
        (post(b"f" * 17 + b"\r\n" + BODY, "Transfer-Encoding: chunked", length=False), 400, "request_malformed"),
        (post(b"1c;" + b"x" * 50_000 + b"\r\n", "Transfer-Encoding: chunked", length=False), 400, "request_malformed"),
        (post(CHUNKED[:2] + b"\n" + CHUNKED[4:], "Transfer-Encoding: chunked", length=False), 400, "request_malformed"),
        (post(gzip.compress(BODY)), 400, "request_malformed"),
        (post(gzip.compress(BODY), "Content-Encoding: gzip"), 415, "content_coding_unsupported"),
        (post(BODY, "Content-Encoding: gzip"), 415, "content_coding_unsupported"),
        (post(BODY, "Content-Type: application/x-www-form-urlencoded"), 415, "media_type_unsupported"),
        (post(BODY, "Content-Type: application/json; charset=utf-16"), 415, "media_type_unsupported"),
        (post(BODY, f"Content-Length: {MEBIBYTE + 1}", "Expect: 100-continue", length=False), 413, "body_too_large"),
        (post(BODY, "Content-Length: 1000000000000", length=False), 413, "body_too_large"),
        # keys
        (post(BODY, "Idempotency-Key: a", "Idempotency-Key: b"), 422, "idempotency_key_invalid"),
        (post(BODY, "idempotency-key: a", "IDEMPOTENCY-KEY: a"), 422, "idempotency_key_invalid"),
        (post(BODY, "Idempotency-Key: " + "k" * 256), 422, "idempotency_key_invalid"),
        (post(BODY, "Idempotency-Key: caf\xe9"), 422, "idempotency_key_invalid"),
        (post(BODY, "Idempotency-Key: a\tb"), 422, "idempotency_key_invalid"),
        (post(BODY, 'Idempotency-Key: " "'), 422, "idempotency_key_invalid"),
        # addresses
        (get(b"*"), 404, "route_not_found"),
        (get(b"*", method=b"OPTIONS"), 404, "route_not_found"),
        (get(b"livez"), 404, "route_not_found"),
        (get(b"ledger:443", method=b"CONNECT"), 405, "method_not_allowed"),
        (get(b"/api/../livez"), 404, "route_not_found"),
        (get(b"/" + b"a" * 60_000), 404, "route_not_found"),
        (get("/livez/é".encode()), 404, "route_not_found"),
        (get(b"/api/v1/payments/1%00"), 422, "request_invalid"),
        (get(b"/api/v1/payments/%2F1"), 404, "payment_not_found"),
        (get(b"/api/v1/payments%2F0"), 422, "request_invalid"),
        (get(b"/api/v1/payments/1%0d%0aX:%20y"), 422, "request_invalid"),
        (get(b"/api/v1/payments/%FF"), 422, "request_invalid"),
        (get(b"/api/v1/payments/%ED%A0%80"), 422, "request_invalid"),
        (get(b"/api/v1/payments/%"), 422, "request_invalid"),
        (get(b"/api/v1/payments/%zz"), 422, "request_invalid"),
        (get(b"/api/v1/payments/9223372036854775808"), 422, "request_invalid"),
        (get("/api/v1/payments/\N{ARABIC-INDIC DIGIT ONE}".encode()), 422, "request_invalid"),
        (get(b"http://elsewhere.example/api/v1/payments/0"), 422, "request_invalid"),
        (get(b"/api/v1/payments?status=%27;DROP%20TABLE%20events;--"), 422, "request_invalid"),
        (get(b"/api/v1/payments?cursor=" + b"A" * 60_000), 422, "request_invalid"),
        (get("/api/v1/payments?status=é".encode()), 422, "request_invalid"),
        (get("/api/v1/mock-gateway/effects?after=é".encode()), 422, "request_invalid"),
        # methods
        (get(method=b"get"), 405, "method_not_allowed"),
        (get(method=b"TRACE"), 405, "method_not_allowed"),
        (get(method=b"PUT"), 405, "method_not_allowed"),
        (get(method=b"BREW"), 405, "method_not_allowed"),
        (get(method=b"A" * 1_000), 405, "method_not_allowed"),
        (get(b"/api/v1/payments/deposit", b"X-HTTP-Method-Override: POST"), 405, "method_not_allowed"),
        (get(b"/api/v1/payments/deposit?_method=POST"), 405, "method_not_allowed"),
        (get(b"/api/v1/payments/deposit", method=b"DELETE"), 405, "method_not_allowed"),
    ],
    ids=named,
)  # fmt: skip
def test_a_hostile_request_is_refused(unaffected: RawClient, request_: bytes, status: int, code: str) -> None:
    """The problem says why, and has the id of the request."""
    answer = unaffected.send(request_)

    assert (answer.status, answer.code) == (status, code), answer.body
    assert json.loads(answer.body)["detail"]
    assert json.loads(answer.body)["request_id"] == answer.headers["X-Request-ID"]


KNOWN_EXCEPTIONS: Final = {
    "no request at all": (b"\x00\x01\x02\r\n\r\n", 400),
    "TLS": (bytes.fromhex("160301020001"), 400),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", 400),
    "HTTP/1.9": (get(version=b"HTTP/1.9"), 400),
    "HTTP/2.0": (get(version=b"HTTP/2.0"), 400),
    "a method with other characters": (get(method=b"G@T"), 400),
    "a space in the address": (get(b"/li vez"), 400),
    "NUL in the address": (get(b"/livez\x00"), 400),
    "an address that is not in UTF-8": (get(b"/livez/\xe9"), 400),
    "a query that is not in UTF-8": (get(b"/livez?x=\xff"), 400),
    "an address above 64 KiB": (get(b"/" + b"a" * 70_000), 414),
    "headers far above 64 KiB": (get(b"/livez", b"X: " + b"a" * 500_000), 431),
    "more than 100 headers": (get(b"/livez", *(b"X%d: 1" % number for number in range(101))), 431),
    "a header without a colon": (get(b"/livez", b"abc"), 400),
    "a space before the colon": (get(b"/livez", b"abc : 1"), 400),
    "a header without a name": (get(b"/livez", b": 1"), 400),
    "a header that is folded": (get(b"/livez", b"abc: 1\r\n 2"), 400),
    "NUL in a header": (get(b"/livez", b"abc: a\x00b"), 400),
    "a carriage return in a header": (get(b"/livez", b"Idempotency-Key: a\rSet-Cookie: x"), 400),
    "a name that is not ASCII": (get(b"/livez", "é: 1".encode()), 400),
    "a length below zero": (post(BODY, "Content-Length: -1", length=False), 400),
    "a length with a sign": (post(BODY, "Content-Length: +28", length=False), 400),
    "a length in words": (post(BODY, "Content-Length: five", length=False), 400),
    "an empty length": (post(BODY, "Content-Length:", length=False), 400),
    "a list of lengths": (post(BODY, "Content-Length: 28, 28", length=False), 400),
    "a length beyond any": (post(BODY, "Content-Length: " + "9" * 30, length=False), 400),
    "two lengths that differ": (post(BODY, "Content-Length: 5"), 400),
    "a last coding that is not chunked": (post(CHUNKED, "Transfer-Encoding: chunked, gzip", length=False), 400),
    "an unknown transfer coding": (post(CHUNKED, "Transfer-Encoding: xchunked", length=False), 400),
    "chunks in HTTP/1.0": (
        post(CHUNKED, "Transfer-Encoding: chunked", length=False).replace(b"HTTP/1.1", b"HTTP/1.0"),
        400,
    ),
}
"""Requests that the HTTP server answers itself, with an empty body and a closed connection.

It has no setting for this.
"""


@pytest.mark.parametrize("what", KNOWN_EXCEPTIONS)
def test_a_request_that_the_server_itself_refuses(unaffected: RawClient, what: str) -> None:
    """They are not HTTP, or not HTTP as the server reads it."""
    request, status = KNOWN_EXCEPTIONS[what]

    answer = unaffected.send(request)

    assert (answer.status, answer.body, answer.closed) == (status, b"", True)
    assert answer.headers["X-Request-ID"] is None


def test_http_2_is_not_spoken(unaffected: RawClient) -> None:
    """The HTTP/2 preface gets no answer, and the connection is closed."""
    with unaffected.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

        assert connection.recv(1024) == b""


@pytest.mark.parametrize(
    "request_",
    [
        get(version=b"HTTP/1.0"),
        get(b"http://elsewhere.example/livez"),
        get(b"//livez"),
        get(b"/livez#x"),
        get(b"/livez", *(b"X%d: 1" % number for number in range(90))),
        get(b"/livez", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        get(b"/livez", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        get(b"/livez", b"Range: bytes=0-1"),
        get(b"/livez", b"Host: elsewhere.example"),
        get(b"/livez", b"X-Forwarded-Host: elsewhere.example", b"X-Original-URL: /api/v1/payments/deposit"),
        get(b"/livez", b"Accept: text/html", b"Accept-Encoding: gzip", b"Accept-Language: tlh"),
        b"\r\n" + get(),
        b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    ],
    ids=named,
)
def test_an_odd_request_does_no_harm(unaffected: RawClient, request_: bytes) -> None:
    """It is answered like the plain request."""
    answer = unaffected.send(request_)

    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize("query", [b"x=%FF&%00=1&=&&", b"a" * 60_000, "x=é".encode()], ids=named)
def test_an_odd_parameter_is_not_known(unaffected: RawClient, query: bytes) -> None:
    """It is refused like any other that the route does not know."""
    answer = unaffected.send(get(b"/livez?" + query))

    assert (answer.status, answer.code) == (422, "request_invalid")


@pytest.mark.parametrize(
    "request_",
    [
        post(),
        post(BODY, "Idempotency-Key:"),
        post(BODY, "Idempotency-Key: \t  "),
        post(BODY, "X-HTTP-Method-Override: DELETE"),
        post(BODY, "Expect: 200-ok"),
        post(CHUNKED, "Transfer-Encoding: chunked", length=False),
        post(CHUNKED, "Transfer-Encoding: Chunked", length=False),
        post(CHUNKED, "Transfer-Encoding: chunked", "Content-Length: 3", length=False),
        post(CHUNKED[:-2] + b"X-Trailer: y\r\n\r\n", "Transfer-Encoding: chunked", length=False),
        post(b"1c;ext=1" + CHUNKED[2:], "Transfer-Encoding: chunked", length=False),
        post(BODY, f"Content-Length: {len(BODY)}"),
        post(path="http://elsewhere.example/api/v1/payments/deposit"),
        post(path="/api/v1/payments%2Fdeposit/"),
    ],
    ids=named,
)
def test_an_odd_request_is_one_payment(raw: RawClient, request_: bytes) -> None:
    """It leaves one event, one entry in the gateway queue, and no key."""
    events, keys, queued = raw.traces()

    answer = raw.send(request_)

    assert answer.status == HTTPStatus.ACCEPTED, answer.body
    assert raw.traces() == (events + 1, keys, queued + 1)


def test_requests_in_a_pipeline_are_answered_in_order(raw: RawClient) -> None:
    """Each request is answered once, and refusals are among the answers."""
    events, keys, queued = raw.traces()
    pipeline = [post(b'{"user_id": 1, "deposit": %d}' % amount) for amount in (1, 0, 2)]

    with raw.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"".join(pipeline))
        answers = [next_answer(stream) for _ in pipeline]

    assert [status for status, _ in answers] == [202, 422, 202]
    assert [body.get("deposit") for _, body in answers] == [1, None, 2]
    assert raw.traces() == (events + 2, keys, queued + 2)


def next_answer(stream: Any) -> tuple[int, Any]:
    """Read one of several answers on a connection."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline().strip()) != b"":
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return status, json.loads(stream.read(length))


def test_bytes_after_a_body_are_not_part_of_it(raw: RawClient) -> None:
    """A request hidden after a body is answered as a request of its own, or the connection is closed."""
    events, _, _ = raw.traces()
    hidden = post(b'{"user_id": 1, "deposit": 7}')

    answer = raw.send(post(CHUNKED + hidden, "Content-Length: 10", "Transfer-Encoding: chunked", length=False))

    assert (answer.status, answer.closed) == (202, True)
    assert raw.traces()[0] == events + 1


def test_a_client_that_expects_100_continue_gets_it(raw: RawClient) -> None:
    """Clients such as curl send `Expect: 100-continue` for larger bodies."""
    with raw.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue", length=False))
        told = stream.readline()
        stream.readline()
        connection.sendall(BODY)

        assert told == b"HTTP/1.1 100 Continue\r\n"
        assert next_answer(stream)[0] == HTTPStatus.ACCEPTED


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_methods_without_a_body_in_their_answer(unaffected: RawClient, method: str) -> None:
    """HEAD is refused as GET is, and OPTIONS lists the methods. Neither answer has a body."""
    with unaffected.connect() as connection:
        connection.sendall(get(b"/api/v1/payments/deposit", method=method.encode()))
        answer = receive(connection, method=method)

        assert answer.status == {"HEAD": 405, "OPTIONS": 204}[method]
        assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
        assert answer.body == b""
        connection.sendall(get())
        assert receive(connection).body == b'{"status":"ok"}'


class TestLargeBodies:
    """A client that reads only after sending everything still sees why it is refused, if it sends that in 2 seconds."""

    @pytest.mark.parametrize(
        ("size", "piece"), [(10_000_000, None), (10_000_000, 1_000_000), (4_000_000, 65_536), (1_500_000, 4_096)]
    )
    def test_they_are_refused_with_a_reason(self, unaffected: RawClient, size: int, piece: int | None) -> None:
        """This holds with a Content-Length and in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", unaffected.port, timeout=ANSWER_SECONDS_MAX)
        big = b'{"user_id": 1, "deposit": 5, "x": "' + b"x" * size + b'"}'
        body: Any = big if piece is None else (big[at : at + piece] for at in range(0, len(big), piece))

        connection.request("POST", "/api/v1/payments/deposit", body, encode_chunked=piece is not None)
        with connection.getresponse() as answer:
            assert answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            assert json.load(answer)["code"] == "body_too_large"
        connection.close()

    def test_many_small_chunks_are_refused(self, unaffected: RawClient) -> None:
        """200,000 chunks of one byte would take longer to read than a thousand payments."""
        body = b'{"user_id": 1, "deposit": 5, "x": "' + b"x" * 200_000 + b'"}'
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"

        answer = unaffected.send(post(chunks, "Transfer-Encoding: chunked", length=False))

        assert (answer.status, answer.code) == (400, "request_malformed")
        assert "pieces" in json.loads(answer.body)["detail"]

    def test_a_body_that_breaks_off_is_refused(self, unaffected: RawClient) -> None:
        """The client sends less than its Content-Length, and ends its side of the connection."""
        with unaffected.connect() as connection:
            connection.sendall(post(BODY[:-1], f"Content-Length: {len(BODY)}", length=False))
            connection.shutdown(socket.SHUT_WR)

            answer = receive(connection)

        assert (answer.status, answer.code) == (400, "request_malformed")
