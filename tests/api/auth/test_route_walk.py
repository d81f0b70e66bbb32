"""No route can be reached without a key that may: not without one, nor with a wrong, ended, narrow or bound one."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar, get

from api.auth.access import Need, Right, allows, rights_of
from api.auth.key_store import revoke_key
from api.auth.keys import SCOPES, SCOPES_OF_BOUND
from ledger.store.database import Database
from tests.api.auth.conftest import Keys, bearer
from tests.api.input.test_unknown_names import BODIES
from tests.support.databases import execute, traces
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio

PUBLIC: Final = {"/", "/livez", "/readyz", "/problems", "/problems/{code:str}"}
"""The routes that anybody may ask, beside those of the documentation."""

UNKNOWN: Final = f"pl_{'0' * 16}_{'0' * 48}"
PAYMENTS: Final = {
    "/api/v1/payments/deposit": b'{"user_id": 1, "deposit": 5}',
    "/api/v1/payments/withdraw": b'{"user_id": 1, "amount": 5}',
}
FORMS: Final[list[tuple[str, list[tuple[str, str]]]]] = [
    ("", [("Content-Type", "application/json")]),
    ("", []),
    ("/", [("Content-Type", "application/json")]),
    ("?x=1", [("Content-Type", "application/json; charset=utf-8")]),
    ("", [("Transfer-Encoding", "chunked")]),
    ("", [("Idempotency-Key", "k"), ("Idempotency-Key", "l")]),
    ("", [("Content-Encoding", "gzip")]),
]


def asked_of(app: Litestar) -> list[tuple[str, str, Right]]:
    """List the methods of the routes that need a key, with a value for each parameter in the path."""
    rights = rights_of(app)
    return [
        (method, path_of(route.path), rights[handler])
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in sorted(handler.http_methods)
        if rights[handler].need != "public"
    ]


def path_of(path: str) -> str:
    """Fill in an address: user 1 and payment 1 exist."""
    ids = dict.fromkeys(("{key_id:str}", "{approval_id:str}"), "4f1c8a02d7be9635")
    ids |= dict.fromkeys(("{payment_id:str}", "{user_id:str}"), "1")
    return "/".join(ids.get(word, word) for word in path.split("/"))


async def ask(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Send a request to a route; its body is one that the route accepts, and its query names user 1."""
    body = BODIES.get(path.removeprefix("/api/v1/").rstrip("/"))
    query = {"user_id": "1"} if (method, path) == ("GET", "/api/v1/payments") else None
    return await client.request(method, path, json=body, params=query, headers=headers)


def is_denied(answer: httpx.Response, status: int) -> bool:
    """Tell whether an answer denies; a batch says it of each payment."""
    if answer.status_code == 200 and answer.json().get("results"):
        return all(each.get("status") == status for each in answer.json()["results"])
    return answer.status_code == status and answer.headers["content-type"] == "application/problem+json"


async def test_every_route_names_its_scope(app: Litestar) -> None:
    """Only those that are named here are public."""
    public = {
        route.path
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if rights_of(app)[handler].need == "public"
    }

    assert {path for path in public if not path.startswith("/docs")} == PUBLIC
    assert {right.need for _, _, right in asked_of(app)} == {*SCOPES, "any"}
    assert len(asked_of(app)) > 45


async def test_a_route_without_a_scope_is_found() -> None:
    """An application with such a route is not made."""

    @get("/forgotten")
    async def forgotten() -> None: ...

    @get("/named", opt=allows("read"))
    async def named() -> None: ...

    assert rights_of(Litestar([named], openapi_config=None))
    with pytest.raises(AssertionError, match="/forgotten names no scope"):
        rights_of(Litestar([named, forgotten], openapi_config=None))


def expired(keys: Keys) -> dict[str, str]:
    """Make a key, and let it expire."""
    text = keys.text(lifetime=timedelta(milliseconds=1))
    over = f"SELECT count(*) FROM api_key WHERE id = '{text[3:19]}' AND expires_at <= clock_timestamp()"
    wait_until(lambda: execute(keys.database, over) == [(1,)])
    return bearer(text)


def revoked(keys: Keys) -> dict[str, str]:
    """Make a key, and revoke it."""
    text = keys.text()
    revoke_key(keys.database, text[3:19])
    return bearer(text)


DENIED: Final[dict[str, Callable[[Keys], dict[str, str]]]] = {
    "none": lambda _: {},
    "another scheme": lambda _: {"Authorization": "Basic YWRhOnNlY3JldA=="},
    "an unknown key": lambda _: bearer(UNKNOWN),
    "an unknown key as X-API-Key": lambda _: {"X-API-Key": UNKNOWN},
    "a wrong secret": lambda keys: bearer(keys.text()[:-1] + "x"),
    "a secret cut off": lambda keys: bearer(keys.text()[:-1]),
    "an id without a secret": lambda keys: bearer(keys.text()[:20]),
    "two keys": lambda keys: bearer(keys.text()) | {"X-API-Key": keys.text()},
    "expired": expired,
    "revoked": revoked,
}


@pytest.mark.parametrize("kind", DENIED)
async def test_every_route_and_method_is_denied_without_a_valid_key(
    app: Litestar, client: httpx.AsyncClient, database: Database, keys: Keys, kind: str
) -> None:
    """Each answer is the same 401, and nothing happens."""
    before, headers = traces(database), DENIED[kind](keys)

    answers = {(method, path): await ask(client, method, path, headers) for method, path, _ in asked_of(app)}

    assert {route: answer.text for route, answer in answers.items() if not is_denied(answer, 401)} == {}
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {'Bearer realm="payment-ledger"'}
    shapes = {re.sub(r'"request_id":"\w+"', "", answer.text) for answer in answers.values()}
    assert len(shapes) == 1
    assert traces(database) == before


async def test_every_route_and_method_is_denied_with_a_narrow_key(
    app: Litestar, client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    """The key has all scopes except the one that the route needs."""
    before = traces(database)
    narrow: dict[Need, dict[str, str]] = {
        scope: keys.make(*(each for each in SCOPES if each != scope)) for scope in SCOPES
    }
    routes = [(method, path, right.need) for method, path, right in asked_of(app) if right.need != "any"]

    answers = {(method, path, need): await ask(client, method, path, narrow[need]) for method, path, need in routes}

    assert {route: answer.text for route, answer in answers.items() if not is_denied(answer, 403)} == {}
    assert {answer.json()["code"] for answer in answers.values()} == {"scope_missing"}
    assert {need for _, _, need in answers} == set(SCOPES)
    assert traces(database) == before


async def test_every_route_and_method_is_denied_with_a_key_that_is_bound_elsewhere(
    app: Litestar, client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    """The key is bound to user 2; everything here is about user 1, about all users, or about nobody."""
    before, bound = traces(database), keys.make(*SCOPES_OF_BOUND, users=(2,))
    routes = [(method, path) for method, path, right in asked_of(app) if right.need in {*SCOPES_OF_BOUND, "any"}]

    answers = {route: await ask(client, *route, bound) for route in routes}

    assert {route: answer.text for route, answer in answers.items() if not is_denied(answer, 403)} == {}
    assert len(answers) > 30
    assert traces(database) == before


async def test_every_route_is_open_to_a_key_with_its_scope_alone(
    app: Litestar, client: httpx.AsyncClient, keys: Keys
) -> None:
    """So the denials above have no other reason."""
    fitting: dict[Need, dict[str, str]] = {scope: keys.make(scope) for scope in SCOPES}
    fitting["any"] = keys.make("audit")

    answers = {
        (method, path): await ask(client, method, path, fitting[right.need]) for method, path, right in asked_of(app)
    }

    assert {route: answer.text for route, answer in answers.items() if answer.status_code in {401, 403}} == {}


async def test_a_bound_key_reaches_its_own_users(app: Litestar, client: httpx.AsyncClient, keys: Keys) -> None:
    """Every route that names a user is open to it."""
    own = keys.make(*SCOPES_OF_BOUND, users=(1, 7))
    routes = [(method, path) for method, path, right in asked_of(app) if right.naming is not None]

    answers = {route: await ask(client, *route, own) for route in routes}

    assert {route: answer.text for route, answer in answers.items() if answer.status_code in {401, 403}} == {}
    assert len(answers) == 13


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/payments", 403),
        ("/api/v1/payments?user_id=2", 200),
        ("/api/v1/payments?user_id=1&user_id=2", 403),
        ("/api/v1/payments?user_id=2&user_id=1", 403),
        ("/api/v1/payments?user_id=%32", 200),
        ("/api/v1/payments?user_id=1%00", 403),
        ("/api/v1/users/1", 403),
        ("/api/v1/users/99", 403),
        ("/api/v1/users/2.0", 403),
        ("/api/v1/payments/1", 403),
        ("/api/v1/payments/99", 403),
        ("/api/v1/payments/x", 403),
        ("/api/v1/payments/99999999999999999999", 403),
        ("/api/v1/users/2/balance", 200),
    ],
)
async def test_a_bound_key_learns_nothing_about_others(
    client: httpx.AsyncClient, keys: Keys, path: str, status: int
) -> None:
    """A user or payment that does not exist is denied like one of others."""
    answer = await client.get(path, headers=keys.make("read", users=(2,)))

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("path", PAYMENTS)
@pytest.mark.parametrize(("ending", "form"), FORMS)
async def test_a_payment_is_denied_in_every_form(
    client: httpx.AsyncClient, database: Database, keys: Keys, path: str, ending: str, form: list[tuple[str, str]]
) -> None:
    """The direct routes ask for the key in their plainest form, too."""
    before, narrow, bound = traces(database), keys.make("read"), keys.make("payments:write", users=(2,))
    plainest = form == FORMS[0][1] and ending in {"", "/"}

    for headers, statuses in (
        ({}, {401}),
        (bearer(UNKNOWN), {401}),
        (narrow, {403}),
        (bound, {403} if plainest else {403, 415, 422}),
    ):
        answer = await client.post(path + ending, content=PAYMENTS[path], headers=[*form, *headers.items()])

        assert answer.status_code in statuses, answer.text
    assert traces(database) == before


async def test_a_batch_says_of_each_payment_whether_the_key_may(client: httpx.AsyncClient, keys: Keys) -> None:
    """One of another user spoils no other."""
    payments = [{"type": "deposit", "user_id": user, "amount": 5} for user in (1, 2)]
    headers = keys.make("payments:write", users=(2,))

    answer = await client.post("/api/v1/payments/batch", json={"payments": payments}, headers=headers)

    others, own = answer.json()["results"]
    assert (others["status"], others["code"]) == (403, "key_bound_elsewhere")
    assert (own["user_id"], own["status"]) == (2, "processing")


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/docs", "/docs/openapi.json", "/problems"])
async def test_a_public_route_needs_no_key(client: httpx.AsyncClient, path: str) -> None:
    """Not even a wrong key keeps a probe from its answer."""
    for headers in ({}, bearer(UNKNOWN)):
        answer: Any = await client.get(path, headers=headers)

        assert answer.status_code == 200
