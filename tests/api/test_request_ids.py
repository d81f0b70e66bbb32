"""Request ids and the access log: one id from the header to the event, and one line for what went wrong."""

import httpx
import pytest
from litestar.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.request_ids import RequestIds, request_id

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("value", ["a", "my-request_1.2:3", "trace/7=", "x" * 128])
async def test_a_sane_request_id_comes_back(client: httpx.AsyncClient, value: str) -> None:
    """In the header and in the problem."""
    answer = await client.get("/api/v1/payments/1", headers={"X-Request-ID": value})

    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == (value, value)


async def test_without_one_each_request_gets_its_own(client: httpx.AsyncClient) -> None:
    """Also at an address that nobody knows."""
    ids = [(await client.get(path)).headers["x-request-id"] for path in ("/livez", "/livez", "/nowhere")]

    assert len(set(ids)) == 3


async def test_requests_are_logged_without_bodies_and_headers(client: httpx.AsyncClient) -> None:
    """With how they went and how long they took."""
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
    """The client has gone, or the server."""

    async def gone(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
        assert request_id(scope)
        raise ConnectionError

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    with capture_logs() as lines, pytest.raises(ConnectionError):
        await RequestIds(gone)(scope, receive, receive)  # type: ignore[arg-type]

    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [("request", "warning", 0)]
