"""A process refuses requests beyond those that it may have under way, at once, and counts no slow body among them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar
from litestar.types import ASGIApp, Receive, Scope, Send

from api.context import AppContext
from api.http.deadlines import SharedDeadline
from api.http.request_ids import RequestIds
from api.limits.at_once import RequestsAtOnce
from api.settings import Settings
from tests.api.conftest import BASE_URL

pytestmark = pytest.mark.anyio

AT_ONCE: Final = 3
DEPOSIT: Final = "/api/v1/payments/deposit"
BODY: Final = b'{"user_id": 1, "deposit": 5}'


class Held:
    """An application that answers each request when all are let go."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.full = asyncio.Event()
        self.arrived = 0

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer a request."""
        self.arrived += 1
        if self.arrived == AT_ONCE:
            self.full.set()
        if scope["path"] == DEPOSIT:
            await self.released.wait()
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
async def held() -> Held:
    """Return an application that holds its requests."""
    return Held()


@pytest.fixture
async def bounded(held: Held) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of that application, which may have three requests under way."""
    app: ASGIApp = RequestIds(RequestsAtOnce(held, requests_max=AT_ONCE, reading=SharedDeadline(30.0)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client:  # type: ignore[arg-type]
        yield client


def post(client: httpx.AsyncClient, content: Any = BODY) -> "asyncio.Task[httpx.Response]":
    """Start a deposit."""
    return asyncio.create_task(client.post(DEPOSIT, content=content))


async def test_a_request_too_many_is_refused_at_once(bounded: httpx.AsyncClient, held: Held) -> None:
    """With Retry-After and the id of the request; those under way are answered, and then there is room again."""
    under_way = [post(bounded) for _ in range(AT_ONCE)]
    await held.full.wait()

    refused = [
        await bounded.request(method, path, headers={"X-Request-ID": "mine"})
        for method, path in (("POST", DEPOSIT), ("GET", "/api/v1/payments"), ("GET", "/nowhere"), ("HEAD", "/docs"))
    ]
    probes = [
        await bounded.get(path) for path in ("/livez", "/readyz", "/api/v1/health", "/api/v1/health/", "/metrics")
    ]
    held.released.set()
    answered = [await task for task in under_way]
    after = await bounded.post(DEPOSIT, content=BODY)

    assert [answer.status_code for answer in refused] == [503] * 4
    assert [answer.headers["retry-after"] for answer in refused] == ["1"] * 4
    assert [answer.headers["content-type"] for answer in refused] == ["application/problem+json"] * 4
    assert refused[0].json() == {
        "type": "/problems/process_busy",
        "title": "The service is busy",
        "status": 503,
        "code": "process_busy",
        "detail": "Too many requests are under way. Send the same request again in a moment.",
        "request_id": "mine",
    }
    assert refused[3].content == b""
    assert {answer.status_code for answer in (*probes, *answered, after)} == {202}


async def test_a_request_that_is_cancelled_is_not_under_way(bounded: httpx.AsyncClient, held: Held) -> None:
    """A client that goes away leaves its place to others."""
    under_way = [post(bounded) for _ in range(AT_ONCE)]
    await held.full.wait()

    for task in under_way:
        task.cancel()
    await asyncio.wait(under_way)
    answer = await bounded.get("/api/v1/payments")

    assert answer.status_code == 202


class TestService:
    """The whole service."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Return the settings of a process that handles three requests at a time."""
        return Settings.load({"LIMIT_REQUESTS_AT_ONCE": str(AT_ONCE)})

    async def test_bodies_that_arrive_slowly_keep_nobody_out(self, client: httpx.AsyncClient, app: Litestar) -> None:
        """There may be more of them than requests under way."""
        context: AppContext = app.state["context"]
        arriving, all_read = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield BODY[:1]
            if context.body_deadline.waiting == 2 * AT_ONCE:
                all_read.set()
            await arriving.wait()
            yield BODY[1:]

        slow = [post(client, slowly()) for _ in range(2 * AT_ONCE)]
        await all_read.wait()
        quick = await client.get("/api/v1/payments")
        arriving.set()
        answers = [await task for task in slow]

        assert quick.status_code == 200
        assert {answer.status_code for answer in answers} == {202}
