"""Request ids and the access log: one id from the header to the event, and one log line for each failure."""

import asyncio
from typing import Any

import httpx
import pytest
from litestar.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.http.deadlines import add_request_id
from api.http.request_ids import RequestIds, note_code, request_id, shown_path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("value", ["a", "my-request_1.2:3", "trace/7=", "x" * 128])
async def test_a_valid_request_id_is_returned(client: httpx.AsyncClient, value: str) -> None:
    """It is in the header and in the problem."""
    answer = await client.get("/api/v1/payments/1", headers={"X-Request-ID": value})

    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == (value, value)


async def test_without_one_each_request_gets_its_own(client: httpx.AsyncClient) -> None:
    """This holds for unknown addresses too."""
    ids = [(await client.get(path)).headers["x-request-id"] for path in ("/livez", "/livez", "/nowhere")]

    assert len(set(ids)) == 3


async def test_requests_are_logged_without_bodies_and_headers(client: httpx.AsyncClient) -> None:
    """The line has the status and the duration."""
    with capture_logs() as lines:
        await client.post(
            "/api/v1/users", json={"balance": "12345.67"}, headers={"X-Request-ID": "r", "Authorization": "secret"}
        )

    (line,) = (line for line in lines if line["event"] == "request")
    assert line.pop("elapsed_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "debug",
        "method": "POST",
        "path": "/api/v1/users",
        "status": 201,
        "request_id": "r",
    }


async def test_a_request_that_was_never_answered_is_logged_as_a_warning() -> None:
    """The client has disconnected, or the server stops."""

    async def gone(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
        assert request_id(scope)
        raise ConnectionError

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    with capture_logs() as lines, pytest.raises(ConnectionError):
        await RequestIds(gone)(scope, receive, receive)  # type: ignore[arg-type]

    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [("request", "warning", 0)]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/v1/users/17/statement", "/api/v1/users/17/statement"),
        ("/api/v1/users/hunter2", "/api/v1/users/*"),
        ("/api/v1/users/4111111111111111111", "/api/v1/users/*"),
        ("//users/", "//users/"),
        ("/", "/"),
    ],
)
def test_of_a_path_only_words_of_routes_and_numbers_are_logged(path: str, shown: str) -> None:
    """A client may have put a secret into an address by mistake."""
    assert shown_path(path, frozenset({"api", "v1", "users", "statement"})) == shown


async def test_an_outage_does_not_fill_the_log_with_requests() -> None:
    """Ten requests that are refused for now have a line with the code; the others of ten seconds are counted."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
        note_code(scope, "database_unavailable")
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def nothing(*_: object) -> None:
        pass

    app = RequestIds(refuse)
    with capture_logs() as lines:
        for _ in range(1_000):
            scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
            await app(scope, nothing, nothing)  # type: ignore[arg-type]

    assert [(line["status"], line["code"], line["unsaid"]) for line in lines] == [(503, "database_unavailable", 0)] * 10


async def test_every_line_of_a_request_has_its_id() -> None:
    """Also a line of code that does not know for which request it works; the log adds it."""
    seen: list[Any] = []

    async def works(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
        seen.append(add_request_id(None, "info", {"event": "x"}))

    async def nothing(*_: object) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"x-request-id", b"r-7")]}
    await asyncio.create_task(RequestIds(works)(scope, nothing, nothing))  # type: ignore[arg-type]

    assert seen == [{"event": "x", "request_id": "r-7"}]
    assert add_request_id(None, "info", {}) == {}
