"""HEAD wherever GET is, and the headers with which pages of other sites may read the answers."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.conftest import BASE_URL

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}
DEPOSIT = "/api/v1/payments/deposit"


def addresses(app: Litestar, method: str) -> list[str]:
    """The addresses of the routes with a method, with a value for each parameter in its path."""
    found = [route.path for route in app.routes if method in getattr(route, "methods", ())]
    return sorted(re.sub(r"\{\w+:(\w+)\}", "1", path) for path in found)


async def test_head_is_answered_wherever_get_is(app: Litestar, client: httpx.AsyncClient) -> None:
    """With the same status and headers, the length included, and without a body."""
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post(DEPOSIT, json={"user_id": 1, "deposit": 1})
    paths = addresses(app, "GET")

    for path in paths:
        got, head = await client.get(path), await client.head(path)
        assert (path, head.status_code, head.content) == (path, got.status_code, b"")
        assert (path, head.headers["content-type"]) == (path, got.headers["content-type"])
        assert "content-length" in head.headers

    assert {"/livez", "/readyz", "/docs", "/api/v1/health", "/api/v1/users/1", "/api/v1/payments"} <= set(paths)


async def test_head_has_no_effect_where_only_post_is(app: Litestar, client: httpx.AsyncClient) -> None:
    """It is refused as GET is."""
    for path in sorted(set(addresses(app, "POST")) - set(addresses(app, "GET"))):
        answer = await client.head(path)
        assert (path, answer.status_code, answer.content) == (path, 405, b"")


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("OPTIONS", 204)])
async def test_head_is_named_beside_get(client: httpx.AsyncClient, method: str, status: int) -> None:
    """A client that asks which methods there are is told of HEAD too."""
    both = await client.request(method, "/api/v1/health")
    post = await client.request(method, DEPOSIT)

    assert (both.status_code, set(both.headers["allow"].split(", "))) == (status, {"GET", "HEAD", "OPTIONS"})
    assert (post.status_code, set(post.headers["allow"].split(", "))) == (status, {"POST", "OPTIONS"})


# --- CORS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["https://app.example,https://other.example", "*"])
async def open_client(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that lets pages of other sites in."""
    app = create_app(Settings.load({"CORS_ORIGINS": request.param}), Partitions.whole(database))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


async def test_no_page_of_another_site_may_read_answers_by_default(client: httpx.AsyncClient) -> None:
    """Neither plain answers nor preflights have the headers."""
    answers = [
        await client.get("/livez", headers=ORIGIN),
        await client.options(DEPOSIT, headers=ORIGIN | PREFLIGHT),
        await client.post(DEPOSIT, json={}, headers=ORIGIN),
    ]

    assert [name for answer in answers for name in answer.headers if name.startswith("access-control")] == []


async def test_pages_of_the_listed_sites_may_read_answers(open_client: httpx.AsyncClient) -> None:
    """Direct routes, refusals and unknown addresses have the headers like all other answers."""
    answers = [
        await open_client.get("/livez", headers=ORIGIN),
        await open_client.post(DEPOSIT, json={"user_id": 1, "deposit": 1}, headers=ORIGIN),
        await open_client.get("/nothing", headers=ORIGIN),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] in {"*", "https://app.example"}
        assert "Idempotent-Replayed" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_is_answered_before_the_request(open_client: httpx.AsyncClient) -> None:
    """A browser then sends the payment with its key. A plain OPTIONS is answered as ever."""
    preflight = await open_client.options(DEPOSIT, headers=ORIGIN | PREFLIGHT)
    plain = await open_client.options(DEPOSIT, headers=ORIGIN)

    assert (preflight.status_code, preflight.content) == (204, b"")
    assert {"Content-Type", "Idempotency-Key"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert (plain.status_code, "access-control-max-age" in plain.headers) == (204, False)


async def test_other_sites_get_no_headers(database: Database) -> None:
    """A cache keeps the answers for two origins apart."""
    app = create_app(Settings.load({"CORS_ORIGINS": "https://app.example"}), Partitions.whole(database))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        answers = [
            await client.get("/livez", headers={"Origin": origin})
            for origin in ("https://app.example.evil", "http://app.example", "null")
        ]
        answers.append(await client.options(DEPOSIT, headers=PREFLIGHT | {"Origin": "https://evil.example"}))
        answers.append(await client.get("/livez"))

    assert [name for answer in answers for name in answer.headers if name.startswith("access-control")] == []
    assert [answer.headers["vary"] for answer in answers] == [*["Prefer, Origin"] * 3, "Origin", "Prefer, Origin"]


async def test_answers_say_how_long_an_idle_connection_is_kept(client: httpx.AsyncClient) -> None:
    """A client can give it up before the service does."""
    assert (await client.get("/livez")).headers["keep-alive"] == "timeout=75"
