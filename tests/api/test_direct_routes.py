"""Direct routes: they answer a payment in every form, and run the checks that Litestar would run."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Response, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody
from litestar.types import ASGIApp

from api.context import AppContext
from api.direct_routes import DirectRoutes
from api.http.deadlines import SharedDeadline
from api.http.problems import to_response
from api.http.request_ids import RequestIds
from api.http.responses import Answer
from api.resources.request import IdempotencyKeyHeader, LedgerRequest
from api.settings import Settings
from ledger.domain.commands import RequestDeposit
from ledger.errors import WriterBusy
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.support.databases import fresh_ledger, traces

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
DEPOSIT = "/api/v1/payments/deposit"
WITHDRAW = "/api/v1/payments/withdraw"
BODY = b'{"user_id": 1, "deposit": 5}'
WITHIN_SECONDS = 30.0


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Yield one ledger for the whole file."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
async def user(client: httpx.AsyncClient) -> None:
    """Open user 1."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (DEPOSIT, [], 202),
        (f"{DEPOSIT}/", [], 202),
        (f"{DEPOSIT}?x=1", [], 422),
        (f"{DEPOSIT}?x=null", [], 422),
        (DEPOSIT, [*JSON.items(), *JSON.items()], 202),
        (DEPOSIT, [("Content-Type", "Application/JSON")], 202),
        (DEPOSIT, [("Content-Type", "application/json;charset=utf-8")], 202),
        (DEPOSIT, [("Content-Type", "application/json; charset=utf8")], 202),
        (DEPOSIT, [("Content-Type", 'application/json; charset="UTF8"')], 202),
        (DEPOSIT, [("Content-Type", "text/plain")], 415),
        (DEPOSIT, [("Content-Encoding", "gzip")], 415),
        (DEPOSIT, [("Content-Encoding", "identity")], 202),
        (DEPOSIT, [("Transfer-Encoding", "chunked")], 202),
        (DEPOSIT, [("Transfer-Encoding", "gzip")], 400),
        (DEPOSIT, [("Expect", "100-continue")], 202),
        (DEPOSIT, [("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 422),
        (DEPOSIT, [("Idempotency-Key", "a b")], 202),
        (DEPOSIT, [("Idempotency-Key", "x" * 256)], 422),
        (DEPOSIT, [("Idempotency-Key", "")], 202),
        (DEPOSIT, [("Content-Length", "2000000")], 413),
        (DEPOSIT, [("Host", "a_b")], 403),
    ],
)
async def test_a_payment_is_answered_in_every_form(
    client: httpx.AsyncClient, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    """The forms are those of path, headers and body."""
    given = headers if "Content-Type" in dict(headers) else [*JSON.items(), *headers]

    answer = await client.post(path, content=BODY, headers=given)

    assert answer.status_code == status, answer.text


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (DEPOSIT, b"", 400),
        (DEPOSIT, b"{", 400),
        (DEPOSIT, b"null", 422),
        (DEPOSIT, b"{}", 422),
        (DEPOSIT, b'{"user_id": "x", "deposit": 5}', 422),
        (DEPOSIT, b'{"user_id": 1, "deposit": 5, "x": "\xff"}', 400),
        (DEPOSIT, b'{"user_id": 1, "deposit": "\\ud800"}', 422),
        (DEPOSIT, b'{"user_id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (DEPOSIT, b'{"user_id": 1, "deposit": -5}', 422),
        (DEPOSIT, b'{"user_id": 1, "deposit": 9007199254740991}', 422),
        (DEPOSIT, b'{"user_id": 99, "deposit": 5}', 404),
        (WITHDRAW, b'{"user_id": 1, "amount": -5}', 422),
        (WITHDRAW, b'{"user_id": 99, "amount": 5}', 404),
    ],
)
async def test_refusals_leave_no_trace(
    client: httpx.AsyncClient, database: Database, path: str, body: bytes, status: int
) -> None:
    """Each is answered with a problem document."""
    before = traces(database)

    answer = await client.post(path, content=body, headers=JSON)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert traces(database) == before


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("failure", [WriterBusy(), ZeroDivisionError("inside")])
async def test_a_failure_inside_is_answered(
    app: Litestar, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """The answer is 503 to retry, or 500 without details."""
    context: AppContext = app.state["context"]

    async def fail(_: RequestDeposit) -> None:
        raise failure

    monkeypatch.setattr(context.only.writer, "execute", fail)

    answer = await client.post(DEPOSIT, content=BODY, headers=JSON)

    assert answer.status_code == (503 if isinstance(failure, WriterBusy) else 500)
    assert "inside" not in answer.text.replace("went wrong inside", "")


@pytest.mark.usefixtures("user")
async def test_a_body_that_does_not_end_in_time_is_refused(app: Litestar, client: httpx.AsyncClient) -> None:
    """The client is at fault, so it is a 4xx."""
    app.state["context"].body_deadline = SharedDeadline(0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield BODY[:5]
        await asyncio.sleep(WITHIN_SECONDS)
        yield BODY[5:]

    answer = await client.post(DEPOSIT, content=endless(), headers={**JSON, "Content-Length": str(len(BODY))})

    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")


async def test_another_method_is_refused_by_the_router(client: httpx.AsyncClient) -> None:
    """No handler runs."""
    put = await client.put(DEPOSIT, content=BODY, headers=JSON)

    assert (put.status_code, set(put.headers["allow"].split(", "))) == (405, {"POST", "OPTIONS"})


# --- checks that Litestar resolves ----------------------------------------------------------------------------------


async def deny(_: ASGIConnection[Any, Any, Any, Any], __: BaseRouteHandler) -> None:
    """Deny everything, as a guard."""
    raise NotAuthorizedException


async def deny_request(_: LedgerRequest) -> None:
    """Deny everything, as a hook before the request."""
    raise NotAuthorizedException


def passing(app: ASGIApp) -> ASGIApp:
    """Do nothing, as middleware."""
    return app


def unchanged(response: Response[Any]) -> Response[Any]:
    """Do nothing, as a hook after the request."""
    return response


async def nothing(_: LedgerRequest) -> None:
    """Do nothing, as a hook after the response."""


@post("/pay", status_code=202)
async def pay(request: LedgerRequest, data: JSONBody[dict[str, int]], key: IdempotencyKeyHeader = None) -> Answer[Any]:
    """Return the received body and key."""
    return Answer({**data, "key": key, "path": request.scope["path"]}, status_code=202)


def toy(**options: Any) -> Litestar:
    """Make an application with one direct route, whose context is not running."""
    context = AppContext(Settings.load({}), Partitions.whole(Database("postgresql://", "no_ledger")))
    app = Litestar(
        [pay],
        state=State({"context": context}),
        exception_handlers={Exception: to_response},
        logging_config=None,
        openapi_config=None,
        request_class=LedgerRequest,
        response_class=Answer,
        **options,
    )
    app.asgi_handler = RequestIds(DirectRoutes(app, [pay]))
    return app


async def asked(app: Litestar) -> httpx.Response:
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post("/pay", json={"n": 1}, headers={"Idempotency-Key": "k"})


async def test_a_direct_route_calls_its_handler() -> None:
    """The handler gets the body and the key."""
    answer = await asked(toy())

    assert (answer.status_code, answer.json()) == (202, {"n": 1, "key": "k", "path": "/pay"})


@pytest.mark.parametrize("options", [{"guards": [deny]}, {"before_request": deny_request}])
async def test_a_guard_and_a_hook_deny_a_direct_route(options: dict[str, Any]) -> None:
    """They may be declared at any layer for which Litestar would run them."""
    answer = await asked(toy(**options))

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "options",
    [
        {"middleware": [passing]},
        {"after_request": unchanged},
        {"after_response": nothing},
        {"dependencies": {"x": Provide(lambda: 1, sync_to_thread=False)}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_checks_that_a_direct_route_would_skip_are_refused_at_start(options: dict[str, Any]) -> None:
    """So no check can be added that routes which take money would skip."""
    with pytest.raises(AssertionError, match="direct route"):
        toy(**options)
