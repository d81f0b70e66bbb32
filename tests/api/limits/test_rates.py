"""A caller who has used up a rate is refused at every route, and told when to come back."""

import time
from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from api.auth.access import rights_of
from api.context import AppContext
from api.limits.budgets import Charge, Rate
from api.limits.marks import is_unlimited
from api.limits.rates import network_of
from api.limits.stores import budgets_of
from api.settings import Settings, SettingsError
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.auth.conftest import Keys, bearer
from tests.api.auth.test_route_walk import FORMS, PAYMENTS, UNKNOWN, ask, path_of
from tests.api.conftest import BASE_URL
from tests.api.limits.conftest import QUOTA, use_up
from tests.support.databases import traces
from tests.support.servers.redis_server import needs_redis, redis_server

pytestmark = pytest.mark.anyio

UNLIMITED: Final = {"/livez", "/readyz", "/api/v1/health", "/metrics"}
"""The only routes without a limit: those of probes and metrics."""

CLIENT: Final = "127.0.0.1"
"""The address from which the tests' client calls."""

BATCH: Final = "/api/v1/payments/batch"
A_PAYMENT: Final = {"type": "deposit", "user_id": 1, "amount": 5}


def routes_of(app: Litestar, *, unlimited: bool) -> list[tuple[str, str]]:
    """List methods and addresses of the routes that are not limited, or of all others."""
    return [
        (method, path_of(route.path))
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in sorted(handler.http_methods)
        if is_unlimited(handler) == unlimited
    ]


def caller_of(headers: dict[str, str]) -> str:
    """Name the caller who sends a key."""
    return f"key:{headers['Authorization'].split('_')[1]}"


async def test_every_route_and_method_refuses_a_key_that_has_sent_too_many_requests(
    app: Litestar, client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    """The answer is a problem document, says when to come back, and nothing has happened."""
    headers, before = keys.make(), traces(database)
    use_up(app, caller_of(headers), "requests", 1)
    use_up(app, CLIENT, "requests", 1)  # a route for everybody looks at no key

    answers = {route: await ask(client, *route, headers) for route in routes_of(app, unlimited=False)}

    assert {route: answer.text for route, answer in answers.items() if answer.status_code != 429} == {}
    assert {answer.json()["code"] for (method, _), answer in answers.items() if method != "HEAD"} == {
        "too_many_requests"
    }
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}
    assert {answer.headers["retry-after"] for answer in answers.values()} == {"1"}
    limits = {(answer.headers["ratelimit-policy"], answer.headers["ratelimit"]) for answer in answers.values()}
    assert ('"requests";q=1000;w=1', '"requests";r=0;t=1') in limits
    assert len(answers) > 50
    assert len(rights_of(app)) >= len(answers) - 5
    assert traces(database) == before


async def test_only_probes_and_metrics_are_not_limited(app: Litestar, client: httpx.AsyncClient, keys: Keys) -> None:
    """An operator who looks for an overload needs them."""
    headers = keys.make()
    use_up(app, caller_of(headers), "requests", 1)
    use_up(app, CLIENT, "requests", 1)
    routes = routes_of(app, unlimited=True)

    answers = {route: await ask(client, *route, headers) for route in routes}

    assert {path for _, path in routes} == UNLIMITED
    assert {route for route, answer in answers.items() if answer.status_code == 429} == set()
    assert {route for route, answer in answers.items() if "ratelimit" in answer.headers} == set()


@pytest.mark.parametrize("path", PAYMENTS)
@pytest.mark.parametrize(("ending", "form"), FORMS)
async def test_a_payment_is_refused_in_every_form(
    app: Litestar,
    client: httpx.AsyncClient,
    database: Database,
    keys: Keys,
    path: str,
    ending: str,
    form: list[tuple[str, str]],
) -> None:
    """The direct routes count it in its plainest form, too."""
    before, headers = traces(database), keys.make()
    use_up(app, caller_of(headers), "payments", 60)

    answer = await client.post(path + ending, content=PAYMENTS[path], headers=[*form, *headers.items()])

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_payments")
    assert answer.headers["ratelimit-policy"] == '"requests";q=1000;w=1, "payments";q=1000;w=60'
    assert traces(database) == before


async def test_a_caller_without_payments_left_may_still_read(
    app: Litestar, client: httpx.AsyncClient, keys: Keys
) -> None:
    """Only payments are counted a minute."""
    headers = keys.make()
    use_up(app, caller_of(headers), "payments", 60)

    refused = await client.post(BATCH, json={"payments": [A_PAYMENT]}, headers=headers)
    read = await client.get("/api/v1/payments/1", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_payments")
    assert read.status_code == 200


async def test_a_batch_counts_each_of_its_payments(app: Litestar, client: httpx.AsyncClient, keys: Keys) -> None:
    """One that the caller has too few left for uses up none."""
    headers, context = keys.make(), app.state["context"]
    context.budgets.take(caller_of(headers), [Charge(Rate("payments", QUOTA, 60), QUOTA - 2)], now=_far_future())

    too_many = await client.post(BATCH, json={"payments": [A_PAYMENT] * 3}, headers=headers)
    enough = await client.post(BATCH, json={"payments": [A_PAYMENT] * 3}, headers=keys.make())

    assert too_many.status_code == 429
    assert enough.status_code == 200
    assert '"payments";r=997' in enough.headers["ratelimit"]


def _far_future() -> float:
    return time.monotonic() + 3600.0


async def test_the_headers_tell_what_is_left(client: httpx.AsyncClient, keys: Keys) -> None:
    """Of each rate that the request has used up."""
    headers = keys.make()

    answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers=headers)

    assert answer.status_code == 202
    assert answer.headers["ratelimit-policy"] == '"requests";q=1000;w=1, "payments";q=1000;w=60'
    assert answer.headers["ratelimit"] == '"requests";r=999;t=1, "payments";r=999;t=1'


@pytest.mark.parametrize("headers", [{}, bearer(UNKNOWN), bearer("pl_short")], ids=["none", "unknown", "broken"])
async def test_a_caller_without_a_valid_key_is_counted_by_address(
    app: Litestar, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """So nobody tries keys faster than that."""
    before = await client.get("/api/v1/payments/1", headers=headers)
    use_up(app, CLIENT, "requests", 1)
    after = await client.get("/api/v1/payments/1", headers=headers)

    assert (before.status_code, after.status_code) == (401, 429)
    assert '"requests";r=' in before.headers["ratelimit"]


async def test_a_key_without_the_scope_is_counted(app: Litestar, client: httpx.AsyncClient, keys: Keys) -> None:
    """By its own name, also when it is refused."""
    narrow = keys.make("audit")
    before = await client.get("/api/v1/payments/1", headers=narrow)
    use_up(app, caller_of(narrow), "requests", 1)
    after = await client.get("/api/v1/payments/1", headers=narrow)

    assert (before.status_code, after.status_code) == (403, 429)


async def test_a_bound_key_is_counted(app: Litestar, client: httpx.AsyncClient, keys: Keys) -> None:
    """Its check waits for the payment's user, and the count comes after that."""
    bound = keys.make("read", users=(1,))
    own = await client.get("/api/v1/payments/1", headers=bound)
    use_up(app, caller_of(bound), "requests", 1)
    after = await client.get("/api/v1/payments/1", headers=bound)

    assert (own.status_code, after.status_code) == (200, 429)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a socket", "a socket"),
    ],
)
async def test_a_client_of_ipv6_is_its_network(host: str, network: str) -> None:
    """It has 2^64 addresses to send from."""
    assert network == network_of(host)


class TestSmallRate:
    """A rate that is smaller than a batch may be."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Return settings with a rate of two payments a minute."""
        return Settings.load({"LIMIT_PAYMENTS_PER_MINUTE": "2"})

    async def test_a_batch_larger_than_the_rate_is_told_so(self, client: httpx.AsyncClient) -> None:
        """It would never be granted, so trying again cannot help."""
        answer = await client.post(BATCH, json={"payments": [A_PAYMENT] * 3})

        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"path": "payments", "message": "are 3, and the caller may send 2 a minute"}]

    async def test_the_payment_after_the_last_is_refused(self, client: httpx.AsyncClient) -> None:
        """Without keys the address counts, and only payments do."""
        body = {"user_id": 1, "deposit": 5}

        answers = [await client.post("/api/v1/payments/deposit", json=body) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert [answer.headers["ratelimit"].split(";t=")[0] for answer in answers] == [
            '"payments";r=1',
            '"payments";r=0',
            '"payments";r=0',
        ]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 30


class TestNoRates:
    """The default."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Return the default settings."""
        return Settings.load({})

    async def test_nothing_is_counted_and_no_header_is_added(self, app: Litestar, client: httpx.AsyncClient) -> None:
        """A client of the original service notices nothing."""
        answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5})

        context: AppContext = app.state["context"]
        assert context.rates is None
        assert [name for name in answer.headers if name.startswith("ratelimit")] == []


def test_a_redis_without_its_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra to install; the setting without a rate needs none."""
    monkeypatch.setattr("api.limits.stores.find_spec", lambda _: None)
    environ = {"LIMIT_STORE_URL": "redis://127.0.0.1:6379/0"}

    with pytest.raises(SettingsError, match=r"payment-ledger\[redis\]"):
        budgets_of(Settings.load(environ | {"LIMIT_PAYMENTS_PER_MINUTE": "3"}))
    assert budgets_of(Settings.load(environ)) is None


@needs_redis
async def test_two_processes_with_a_redis_count_together(database: Database) -> None:
    """Three payments a minute are three in both of them."""

    async def clients(url: str) -> AsyncIterator[httpx.AsyncClient]:
        for _ in range(2):
            settings = Settings.load({"LIMIT_PAYMENTS_PER_MINUTE": "3", "LIMIT_STORE_URL": url})
            app = create_app(settings, Partitions.whole(database))
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
                yield client

    statuses = []
    with redis_server() as server:
        async for client in clients(server.url):
            answers = [
                await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}) for _ in range(2)
            ]
            statuses += [answer.status_code for answer in answers]

    assert statuses == [202, 202, 202, 429]
