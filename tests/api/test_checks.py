"""The checks before the handlers: no route can be reached without them, in any form of the request."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request
from litestar.exceptions import PermissionDeniedException

from api.app import create_app
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.conftest import BASE_URL
from tests.support.databases import fresh_ledger, traces

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
DEPOSIT = b'{"user_id": 1, "deposit": 5}'
WITHDRAWAL = b'{"user_id": 1, "amount": 5}'


async def deny(_: Request[Any, Any, Any]) -> None:
    """Deny everything."""
    raise PermissionDeniedException


@pytest.fixture
async def app(postgres_url: str) -> AsyncIterator[Litestar]:
    """Run the application with all its routes, and a check that denies each request."""
    with fresh_ledger(postgres_url) as database:
        app = create_app(Settings.load({}, command="serve"), Partitions.whole(database), checks=[deny])
        async with app.lifespan():
            yield app


@pytest.fixture
async def database(app: Litestar) -> Database:
    """Return the application's ledger."""
    found: Database = app.state["context"].only.database
    return found


def routes_of(app: Litestar) -> list[tuple[str, str]]:
    """Yield every method of every route, with a value for each parameter in its path."""
    return [
        (method, re.sub(r"\{\w+:(\w+)\}", "1", route.path))
        for route in app.routes
        for method in sorted(getattr(route, "methods", ()))
    ]


async def test_a_check_that_denies_denies_every_route_and_method(app: Litestar, client: httpx.AsyncClient) -> None:
    """The routes of the documentation, health and the demo gateway are included."""
    routes = routes_of(app)

    answers = {route: await client.request(*route) for route in routes}

    assert {route: answer.status_code for route, answer in answers.items() if answer.status_code != 403} == {}
    assert {answer.json()["code"] for answer in answers.values()} == {"forbidden"}
    assert {("POST", "/api/v1/payments/deposit"), ("GET", "/docs"), ("POST", "/api/v1/mock-gateway/pay")} <= set(routes)
    assert len(routes) > 50


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/payments/deposit", DEPOSIT), ("/api/v1/payments/withdraw", WITHDRAWAL)],
)
@pytest.mark.parametrize("ending", ["", "/", "?x=1"])
@pytest.mark.parametrize(
    "headers",
    [
        [*JSON.items()],
        [*JSON.items(), ("Idempotency-Key", "k")],
        [("Content-Type", "application/json; charset=utf-8")],
        [("Transfer-Encoding", "chunked")],
        [("Content-Encoding", "gzip")],
        [("Expect", "100-continue")],
        [],
    ],
)
async def test_a_payment_is_denied_in_every_form(
    client: httpx.AsyncClient, database: Database, path: str, body: bytes, ending: str, headers: list[tuple[str, str]]
) -> None:
    """The plainest form is denied too, and no request has an effect."""
    before = traces(database)

    answer = await client.post(path + ending, content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert traces(database) == before


async def test_the_body_of_a_denied_request_is_not_read(client: httpx.AsyncClient) -> None:
    """The body is read after the checks, so it may be malformed or of any length."""
    answers = [
        await client.post("/api/v1/payments/deposit", content=content, headers=JSON)
        for content in (b"{", b"x" * 2_000_000, b"")
    ]

    assert {answer.status_code for answer in answers} == {403}


async def test_a_denial_has_a_request_id(client: httpx.AsyncClient) -> None:
    """The answer has a request id, like any other."""
    answer = await client.get(f"{BASE_URL}/api/v1/payments/1", headers={"X-Request-ID": "r-1"})

    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("r-1", "r-1")
