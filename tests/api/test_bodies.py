"""Bodies: read whole and within bounds of bytes, pieces and time, and only when they are sent as they are."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import Headers
from litestar.types import HTTPRequestEvent, Message

from api.bodies import BODY_BYTES_MAX, BODY_SECONDS_MAX, PIECES_MAX, THROWN_AWAY_BYTES_MAX, read_body
from api.errors import BodyTooLarge, RequestMalformed
from api.time_limit import TimeLimit

pytestmark = pytest.mark.anyio

BODY = b'{"balance": 5}'


class Sender:
    """A client that sends a body in pieces of one size, and notes how many were taken."""

    def __init__(self, pieces: Sequence[bytes], *, then: Callable[[], Any] | None = None) -> None:
        self.taken = 0
        self._pieces = pieces
        self._then = then

    async def receive(self) -> Any:
        """Give the next piece, as a server does."""
        self.taken += 1
        if self.taken <= len(self._pieces):
            more = self._then is not None or self.taken < len(self._pieces)
            return {"type": "http.request", "body": self._pieces[self.taken - 1], "more_body": more}
        assert self._then is not None
        return await self._then()


def in_time() -> TimeLimit:
    """As much time as the service gives."""
    return TimeLimit(BODY_SECONDS_MAX)


async def never() -> Message:
    """Send nothing, and leave the connection open."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def disconnect() -> Message:
    """Close the connection."""
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "aws-chunked"])
async def test_a_coded_body_is_refused(client: httpx.AsyncClient, coding: str) -> None:
    """By what it says of itself, whatever it is, and with a word on what is understood."""
    body = gzip.compress(BODY) if "gzip" in coding else BODY

    answer = await client.post("/api/v1/users", content=body, headers={"Content-Encoding": coding})

    assert (answer.status_code, answer.json()["code"]) == (415, "content_coding_unsupported")
    assert coding in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "", "Identity"])
async def test_a_body_that_is_said_to_be_as_it_is_is_taken(client: httpx.AsyncClient, coding: str) -> None:
    """In the words that HTTP has for it."""
    answer = await client.post("/api/v1/users", content=BODY, headers={"Content-Encoding": coding})

    assert answer.status_code == 201


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked, gzip"])
async def test_a_transfer_coding_that_some_would_undo_is_refused(client: httpx.AsyncClient, coding: str) -> None:
    """A proxy that undoes what we do not would have let another request pass."""
    answer = await client.post("/api/v1/users", content=BODY, headers={"Transfer-Encoding": coding})

    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")
    assert "Transfer-Encoding" in answer.json()["detail"]


async def test_a_body_may_come_in_many_pieces() -> None:
    """As many as are allowed, and they are put together in order."""
    sender = Sender([b"%d," % number for number in range(PIECES_MAX)])

    body = await read_body(sender.receive, Headers(), in_time())

    assert body == b"".join(b"%d," % number for number in range(PIECES_MAX))


async def test_a_body_in_too_many_pieces_is_refused() -> None:
    """Each costs about as much as a short request."""
    sender = Sender([b"x"] * (PIECES_MAX + 1))

    with pytest.raises(RequestMalformed, match="pieces"):
        await read_body(sender.receive, Headers(), in_time())


async def test_a_body_that_never_ends_is_given_up() -> None:
    """It would hold its connection for ever."""
    with pytest.raises(RequestMalformed, match="did not come to an end"):
        await read_body(Sender([b"{"], then=never).receive, Headers(), TimeLimit(0.05))


async def test_a_body_that_breaks_off_is_refused() -> None:
    """Half of a request is none."""
    with pytest.raises(RequestMalformed, match="closed before the end"):
        await read_body(Sender([b"{"], then=disconnect).receive, Headers(), in_time())


async def test_a_body_as_large_as_allowed_is_taken() -> None:
    """To the byte."""
    whole = b"x" * BODY_BYTES_MAX

    assert await read_body(Sender([whole[:-1], b"x"]).receive, Headers(), in_time()) == whole
    with pytest.raises(BodyTooLarge):
        await read_body(Sender([whole, b"x"]).receive, Headers(), in_time())


@pytest.mark.parametrize("announced", [True, False])
async def test_the_rest_of_a_body_that_is_too_large_is_thrown_away(*, announced: bool) -> None:
    """So that a client which first sends everything sees the answer."""
    sender = Sender([b"x" * 65_536] * 160)
    headers = Headers({"content-length": str(160 * 65_536)} if announced else {})

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, headers, in_time())

    assert sender.taken == 160


async def test_not_everything_is_thrown_away() -> None:
    """A body without an end would never be answered."""
    sender = Sender([b"x" * 65_536] * 1_000)

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, Headers(), in_time())

    assert sender.taken * 65_536 <= BODY_BYTES_MAX + THROWN_AWAY_BYTES_MAX + 65_536


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": str(BODY_BYTES_MAX + 1), "expect": "100-continue"},
        {"content-length": str(THROWN_AWAY_BYTES_MAX + 1)},
    ],
)
async def test_what_was_not_sent_yet_is_not_asked_for(headers: dict[str, str]) -> None:
    """The client waits for a word to go on, or announces more than anybody would read."""
    sender = Sender([], then=never)

    with pytest.raises(BodyTooLarge):
        await read_body(sender.receive, Headers(headers), in_time())

    assert sender.taken == 0


async def test_a_client_that_announces_too_much_and_sends_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment."""
    monkeypatch.setattr("api.bodies.THROWN_AWAY_SECONDS_MAX", 0.05)
    began = time.monotonic()

    with pytest.raises(BodyTooLarge):
        await read_body(
            Sender([], then=never).receive,
            Headers({"content-length": str(BODY_BYTES_MAX + 1)}),
            in_time(),
        )

    assert time.monotonic() - began < 2


@pytest.mark.parametrize("length", ["", "-1", "+5", "1e3", "٥", "9" * 30, "five"])
async def test_a_length_that_is_none_is_not_looked_at(length: str) -> None:
    """The bytes are counted all the same."""
    headers = Headers({"content-length": length})

    assert await read_body(Sender([BODY]).receive, headers, in_time()) == BODY


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Send a body in pieces of 64 KiB, without saying how many there will be."""
    yield b'{"user_id": 1, "deposit": 5, "x": "'
    for _ in range(count):
        yield b"x" * 65_536
    yield b'"}'


@pytest.mark.parametrize("pieces", [16, 160])
async def test_bodies_that_are_too_large(client: httpx.AsyncClient, pieces: int) -> None:
    """Above 1 MiB a body is refused, whether its length is announced or not."""
    whole = b"".join([piece async for piece in chunks(pieces)])

    announced = await client.post("/api/v1/payments/deposit", content=whole)
    chunked = await client.post("/api/v1/payments/deposit", content=chunks(pieces))

    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_below_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    """In pieces too."""
    answer = await client.post("/api/v1/users", content=chunks(15))

    assert answer.status_code == 201


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_mistake_of_ours(app: Litestar) -> None:
    """It is answered, though nobody listens any more, and nothing is logged as an error."""
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
