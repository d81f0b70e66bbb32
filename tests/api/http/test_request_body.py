"""Bodies are read whole, within bounds of bytes, pieces and time, and only without a content coding."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.types import HTTPRequestEvent, Message

from api.errors import BodyTooLarge, RequestMalformed
from api.http.deadlines import SharedDeadline
from api.http.request_body import BODY_BYTES_MAX, BODY_SECONDS_MAX, DRAIN_BYTES_MAX, PIECES_MAX, read_body

pytestmark = pytest.mark.anyio

BODY = b'{"balance": 5}'


class Sender:
    """A client that sends a body in pieces, and counts how many were read."""

    def __init__(self, pieces: Sequence[bytes], *, then: Callable[[], Any] | None = None) -> None:
        self.taken = 0
        self._pieces = pieces
        self._then = then

    async def receive(self) -> Any:
        """Return the next piece, as a server does."""
        self.taken += 1
        if self.taken <= len(self._pieces):
            more = self._then is not None or self.taken < len(self._pieces)
            return {"type": "http.request", "body": self._pieces[self.taken - 1], "more_body": more}
        assert self._then is not None
        return await self._then()


def in_time() -> SharedDeadline:
    """Return a deadline that no body here reaches."""
    return SharedDeadline(BODY_SECONDS_MAX)


async def never() -> Message:
    """Send nothing, and leave the connection open."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def disconnect() -> Message:
    """Close the connection."""
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "aws-chunked"])
async def test_a_coded_body_is_refused(client: httpx.AsyncClient, coding: str) -> None:
    """The answer names the refused coding, whatever the body is, and says which coding is accepted."""
    body = gzip.compress(BODY) if "gzip" in coding else BODY

    answer = await client.post("/api/v1/users", content=body, headers={"Content-Encoding": coding})

    assert (answer.status_code, answer.json()["code"]) == (415, "content_coding_unsupported")
    assert "Content-Encoding" in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "", "Identity"])
async def test_a_body_with_identity_coding_is_accepted(client: httpx.AsyncClient, coding: str) -> None:
    """`identity` and an empty value mean that the body is not coded."""
    answer = await client.post("/api/v1/users", content=BODY, headers={"Content-Encoding": coding})

    assert answer.status_code == 201


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked, gzip"])
async def test_other_transfer_codings_are_refused(client: httpx.AsyncClient, coding: str) -> None:
    """A proxy that decodes a coding which we ignore would have checked another request."""
    answer = await client.post("/api/v1/users", content=BODY, headers={"Transfer-Encoding": coding})

    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")
    assert "Transfer-Encoding" in answer.json()["detail"]


async def test_a_body_may_come_in_many_pieces() -> None:
    """The pieces, up to the limit, are joined in order."""
    sender = Sender([b"%d," % number for number in range(PIECES_MAX)])

    body = await read_body(sender.receive, [], in_time())

    assert body == b"".join(b"%d," % number for number in range(PIECES_MAX))


async def test_a_body_in_too_many_pieces_is_refused() -> None:
    """Each piece costs about as much as a short request."""
    sender = Sender([b"x"] * (PIECES_MAX + 1))

    with pytest.raises(RequestMalformed, match="pieces"):
        await read_body(sender.receive, [], in_time())


async def test_a_body_that_never_ends_is_given_up() -> None:
    """Such a body would hold its connection for ever."""
    with pytest.raises(RequestMalformed, match="was not complete"):
        await read_body(Sender([b"{"], then=never).receive, [], SharedDeadline(0.05))


async def test_a_body_that_breaks_off_is_refused() -> None:
    """Half of a body is refused."""
    with pytest.raises(RequestMalformed, match="closed before the end"):
        await read_body(Sender([b"{"], then=disconnect).receive, [], in_time())


async def test_a_body_of_the_maximum_size_is_accepted() -> None:
    """The limit is exact to the byte."""
    whole = b"x" * BODY_BYTES_MAX

    assert await read_body(Sender([whole[:-1], b"x"]).receive, [], in_time()) == whole
    with pytest.raises(BodyTooLarge):
        await read_body(Sender([whole, b"x"]).receive, [], in_time())


@pytest.mark.parametrize("announced", [True, False])
async def test_an_oversized_body_is_drained(*, announced: bool) -> None:
    """Otherwise a client that sends everything first would not see the answer."""
    sender = Sender([b"x" * 65_536] * 160)
    headers = [(b"content-length", b"%d" % (160 * 65_536))] if announced else []

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, headers, in_time())

    assert sender.taken == 160


async def test_draining_is_limited() -> None:
    """Draining is limited, because a body without an end would never be answered."""
    sender = Sender([b"x" * 65_536] * 1_000)

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, [], in_time())

    assert sender.taken * 65_536 <= BODY_BYTES_MAX + DRAIN_BYTES_MAX + 65_536


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"%d" % (BODY_BYTES_MAX + 1)), (b"expect", b"100-continue")],
        [(b"content-length", b"%d" % (DRAIN_BYTES_MAX + 1))],
    ],
)
async def test_an_oversized_body_that_was_not_sent_is_not_drained(headers: list[tuple[bytes, bytes]]) -> None:
    """The client waits for 100 Continue, or announces more than is drained."""
    sender = Sender([], then=never)

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, headers, in_time())

    assert sender.taken == 0


async def test_a_client_that_announces_too_much_and_sends_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered after the drain's time limit."""
    monkeypatch.setattr("api.http.request_body.DRAIN_SECONDS_MAX", 0.05)
    began = time.monotonic()

    with pytest.raises(BodyTooLarge):
        await read_body(
            Sender([], then=never).receive,
            [(b"content-length", b"%d" % (BODY_BYTES_MAX + 1))],
            in_time(),
        )

    assert time.monotonic() - began < 2


@pytest.mark.parametrize("length", ["", "-1", "+5", "1e3", "٥", "9" * 30, "five"])
async def test_a_malformed_length_is_ignored(length: str) -> None:
    """The bytes are counted instead."""
    headers = [(b"content-length", length.encode())]

    assert await read_body(Sender([BODY]).receive, headers, in_time()) == BODY


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Send a body in pieces of 64 KiB, without a Content-Length."""
    yield b'{"balance": 5'
    for _ in range(count):
        yield b" " * 65_536
    yield b"}"


@pytest.mark.parametrize("pieces", [16, 160])
async def test_bodies_that_are_too_large(client: httpx.AsyncClient, pieces: int) -> None:
    """A body above 1 MiB is refused, whether its length is announced or not."""
    whole = b"".join([piece async for piece in chunks(pieces)])

    announced = await client.post("/api/v1/payments/deposit", content=whole)
    chunked = await client.post("/api/v1/payments/deposit", content=chunks(pieces))

    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_below_the_limit_is_accepted(client: httpx.AsyncClient) -> None:
    """This holds for a body in pieces too."""
    answer = await client.post("/api/v1/users", content=chunks(15))

    assert answer.status_code == 201


async def test_a_client_that_disconnects_within_its_body_causes_no_error(app: Litestar) -> None:
    """The request is answered although nobody reads the answer, and nothing is logged as an error."""
    sent: list[Message] = []
    coming = iter([HTTPRequestEvent(type="http.request", body=b'{"user', more_body=True), {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/payments/deposit",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"50")],
    }
    await app(scope, receive, send)  # type: ignore[arg-type]

    assert sent[0]["type"] == "http.response.start"
    assert sent[0]["status"] == 400
