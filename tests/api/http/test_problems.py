"""Problems: the table is complete, and every error is answered with a document that says what to do."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request
from litestar.exceptions import (
    ClientException,
    HTTPException,
    NotAuthorizedException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
)

import api.errors
from api.errors import StreamSetAside
from api.http.problem_table import PROBLEMS, problem_for
from api.http.problems import to_response
from api.settings import SettingsError
from ledger.errors import LedgerError, StoreBroken

pytestmark = pytest.mark.anyio


def tree(root: type[LedgerError]) -> Iterator[type[LedgerError]]:
    """Yield a class and all subclasses of it that belong to the service, and not to a test."""
    yield root
    for cls in root.__subclasses__():
        if cls.__module__.partition(".")[0] in {"ledger", "api"}:
            yield from tree(cls)


def test_every_error_that_a_request_can_meet_has_its_row() -> None:
    """A new error class needs a row of its own, so that its answer is chosen on purpose."""
    met = [cls for cls in tree(LedgerError) if cls.__module__.startswith("ledger.") or cls.__module__ == "api.errors"]

    assert [cls.__name__ for cls in met if cls not in PROBLEMS] == []
    assert len(met) > 30


def test_every_other_error_is_our_own_fault() -> None:
    """For example, no request can meet the errors of starting up."""
    others = [cls for cls in tree(LedgerError) if cls not in PROBLEMS]

    assert {problem_for(cls).status for cls in others} <= {500}


def test_errors_that_end_a_process_are_our_own_fault() -> None:
    """A client cannot avoid them, so none of them is a 4xx."""
    own = [StoreBroken, SettingsError, api.errors.InternalError]

    assert {PROBLEMS[error].status for error in own} == {500}


def test_a_code_means_one_thing() -> None:
    """A client could not distinguish two errors with one code."""
    codes = [error.code for error in PROBLEMS]

    assert len(codes) == len(set(codes))


def test_errors_that_may_be_retried_are_429_or_503() -> None:
    """All other errors are permanent. Of those, one has a status of 503, because an operator can mend it."""
    retried = {error: error.may_retry for error, problem in PROBLEMS.items() if problem.status in {429, 503}}

    assert {error for error, may_retry in retried.items() if not may_retry} == {StreamSetAside}
    assert {error.may_retry for error, problem in PROBLEMS.items() if problem.status not in {429, 503}} == {False}


@pytest.mark.parametrize(
    ("raised", "status", "code", "headers"),
    [
        (NotAuthorizedException(), 401, "unauthenticated", {"www-authenticate": 'Bearer realm="payment-ledger"'}),
        (
            NotAuthorizedException(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}),
            401,
            "unauthenticated",
            {"www-authenticate": 'Bearer error="invalid_token"'},
        ),
        (PermissionDeniedException(), 403, "forbidden", {}),
        (TooManyRequestsException(headers={"Retry-After": "7"}), 429, "too_many_requests", {"retry-after": "7"}),
        (TooManyRequestsException(), 429, "too_many_requests", {"retry-after": "1"}),
        (ClientException("it is crooked"), 400, "request_malformed", {}),
        (HTTPException("no coffee here", status_code=418), 418, "request_refused", {}),
        (ClientException("too early", status_code=425), 425, "request_refused", {}),
        (ServiceUnavailableException(), 503, "unavailable", {"retry-after": "1"}),
        (HTTPException("inside", status_code=501), 500, "internal_error", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_of_the_framework_keep_their_status(
    raised: HTTPException, status: int, code: str, headers: dict[str, str]
) -> None:
    """They keep their own status, and the headers that say how to continue."""
    scope: Any = {"type": "http", "path": "/", "headers": [], "ledger.request_id": "r"}

    answer = to_response(Request(scope), raised)

    assert (answer.status_code, answer.content.status, answer.content.code) == (status, status, code)
    assert headers == {name.lower(): value for name, value in answer.headers.items()}
    assert "inside" not in answer.content.detail


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "route_not_found"),
        ("GET", "/problems/nothing", 404, "route_not_found"),
        ("GET", "/api/v1", 404, "route_not_found"),
        ("GET", "/api/v1/users/1/2/3", 404, "route_not_found"),
        ("GET", "/api/v2/users/1", 404, "route_not_found"),
        ("GET", "/docs/nothing", 404, "route_not_found"),
        ("GET", "/docs/static/nothing", 404, "route_not_found"),
        ("GET", "/api/v1/payments/deposit", 405, "method_not_allowed"),
        ("PUT", "/api/v1/payments/1", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/users", 405, "method_not_allowed"),
    ],
)
async def test_unknown_addresses_and_methods_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """The document has all fields of a problem."""
    answer = await client.request(method, path)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert isinstance(problem["detail"], str)
    assert isinstance(problem["title"], str)


async def test_a_405_lists_the_allowed_methods(client: httpx.AsyncClient) -> None:
    """The allowed methods are in the Allow header, as HTTP requires, and in the text."""
    answer = await client.put("/api/v1/dlq")

    assert "GET" in answer.headers["allow"]
    assert "GET" in answer.json()["detail"]


async def test_options_lists_the_methods_of_a_route(client: httpx.AsyncClient) -> None:
    """OPTIONS lists the methods of a route."""
    answer = await client.options("/api/v1/payments/deposit")

    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")


class TestInternalErrors:
    """Mistakes of ours."""

    @pytest.fixture
    async def client(self, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a client of a service with a mistake in it."""

        async def broken(*_: Any) -> None:
            raise RuntimeError("the secret")

        monkeypatch.setattr("api.queries.payments.PaymentQueries.get", broken)
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client

    async def test_a_500_hides_the_details_and_is_found_in_the_log(
        self, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The request's id connects the answer with the log."""
        answer = await client.get("/api/v1/payments/1", headers={"X-Request-ID": "find-me"})

        output = capsys.readouterr()
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert "RuntimeError" not in answer.text
        assert answer.json()["request_id"] == "find-me"
        assert "request_failed" in output.out + output.err
        assert "find-me" in output.out + output.err
