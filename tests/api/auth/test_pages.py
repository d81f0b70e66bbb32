"""Pages of other sites are kept out where no key is needed; programs, and pages of the service, are not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from litestar import Request

from api.app import create_app
from api.auth.pages import Pages
from api.errors import CrossSite
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database

pytestmark = pytest.mark.anyio

DEPOSIT = "/api/v1/payments/deposit"
SHOP = "https://shop.example"
PAYMENT = b'{"user_id": 1, "deposit": 1}'

Headers = dict[str, str]


@asynccontextmanager
async def serving(database: Database, settings: Headers) -> AsyncIterator[httpx.AsyncClient]:
    """Run a service that has user 1."""
    app = create_app(Settings.load(settings), Partitions.whole(database))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        assert (await client.post("/api/v1/users", json={})).status_code == 201
        yield client


OTHER_PAGES: list[Headers] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": SHOP},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": SHOP},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site", "Origin": SHOP, "Authorization": "Bearer x"},
]


@pytest.mark.parametrize("auth", ["loopback", "off"])
async def test_a_page_of_another_site_pays_nothing(database: Database, auth: str) -> None:
    """A body without a content type needs no leave of the service, so the browser sends it at once."""
    async with serving(database, {"AUTH": auth}) as client:
        for headers in OTHER_PAGES:
            answer = await client.post(DEPOSIT, content=PAYMENT, headers=headers)
            assert (headers, answer.status_code, answer.json()["code"]) == (headers, 403, "cross_site")


def test_an_origin_without_a_name_is_not_that_of_a_request_without_a_host() -> None:
    """Neither says where the page is from."""
    scope = {"type": "http", "method": "POST", "headers": [(b"origin", b"null")]}

    with pytest.raises(CrossSite):
        Pages(origins=(), host=None)(Request(scope))  # type: ignore[arg-type]


async def test_a_page_of_another_site_does_nothing_else(database: Database) -> None:
    """Every route that changes something refuses it."""
    async with serving(database, {}) as client:
        for path in ("/api/v1/users", "/api/v1/payments/batch", "/api/v1/gateway/pause", "/api/v1/keys"):
            answer = await client.post(path, headers={"Sec-Fetch-Site": "cross-site"})
            assert (path, answer.status_code, answer.json()["code"]) == (path, 403, "cross_site")


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {}),
        ({}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://ledger.example"}),
        ({"AUTH": "off"}, {"Sec-Fetch-Site": "none"}),
        ({"AUTH": "off"}, {"Origin": "http://localhost:8000"}),
        ({"CORS_ORIGINS": SHOP}, {"Sec-Fetch-Site": "cross-site", "Origin": SHOP}),
        ({"CORS_ORIGINS": "*", "AUTH": "off"}, {"Sec-Fetch-Site": "cross-site", "Origin": SHOP}),
    ],
)
async def test_programs_and_known_pages_pay(database: Database, settings: Headers, headers: Headers) -> None:
    """A program sends none of these headers."""
    async with serving(database, settings) as client:
        assert (await client.post(DEPOSIT, content=PAYMENT, headers=headers)).status_code == 202


async def test_no_name_but_its_own_leads_to_a_service_for_its_machine(database: Database) -> None:
    """A page under a name of its own that leads to this machine would be of the same origin, and could read too."""
    async with serving(database, {}) as client:
        for host in ("rebound.example:8000", "localhost.example", "127.0.0.1.example", "xlocalhost"):
            headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
            paid = await client.post(DEPOSIT, content=PAYMENT, headers=headers)
            read = await client.get("/api/v1/users/1", headers=headers)
            assert (host, paid.json()["code"], read.json()["code"]) == (host, "host_unknown", "host_unknown")
            assert (paid.status_code, read.status_code) == (403, 403)
        for host in ("localhost", "LOCALHOST:8000", "pay.localhost:8000", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3"):
            read = await client.get("/api/v1/users/1", headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
            assert (host, read.status_code) == (host, 200)


async def test_probes_may_use_any_name(database: Database) -> None:
    """They need no key anywhere, and show nothing."""
    async with serving(database, {}) as client:
        assert (await client.get("/livez", headers={"Host": "probe.example"})).status_code == 200


async def test_a_proxy_that_decides_who_may_call_knows_the_names(database: Database) -> None:
    """Only a service for its own machine looks at them."""
    async with serving(database, {"AUTH": "off"}) as client:
        paid = await client.post(DEPOSIT, content=PAYMENT, headers={"Host": "ledger.example"})
        assert paid.status_code == 202
