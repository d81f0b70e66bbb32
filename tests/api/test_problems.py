"""Problems: the table is total, and every way to go wrong is answered with a document that says what to do."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar

import api.errors
from api.problems import PROBLEMS, problem_of
from ledger.errors import LedgerError, StoreBroken
from ledger.settings import SettingsError

pytestmark = pytest.mark.anyio


def tree(root: type[LedgerError]) -> Iterator[type[LedgerError]]:
    """Give a class and all below it that belong to the service, and not to a test."""
    yield root
    for cls in root.__subclasses__():
        if cls.__module__.partition(".")[0] in {"ledger", "api"}:
            yield from tree(cls)


def test_every_error_that_a_request_can_meet_has_its_row() -> None:
    """A row of its own, so that nobody forgets to think of what to answer."""
    met = [cls for cls in tree(LedgerError) if cls.__module__.startswith("ledger.") or cls.__module__ == "api.errors"]

    assert [cls.__name__ for cls in met if cls not in PROBLEMS] == []
    assert len(met) > 30


def test_every_other_error_is_our_own_fault() -> None:
    """Such as those of starting up, which no request meets."""
    others = [cls for cls in tree(LedgerError) if cls not in PROBLEMS]

    assert {problem_of(cls).status for cls in others} <= {500}


def test_errors_that_end_a_process_are_our_own_fault() -> None:
    """A client could not help it, so none of them is a 4xx."""
    own = [StoreBroken, SettingsError, api.errors.InternalError]

    assert {PROBLEMS[error].status for error in own} == {500}


def test_a_code_means_one_thing() -> None:
    """Two errors with one code would be one for a client."""
    codes = [error.code for error in PROBLEMS]

    assert len(codes) == len(set(codes))


def test_what_can_help_by_trying_again_is_503() -> None:
    """And nothing else is."""
    assert {error.may_retry for error, problem in PROBLEMS.items() if problem.status == 503} == {True}
    assert {error.may_retry for error, problem in PROBLEMS.items() if problem.status != 503} == {False}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "route_not_found"),
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
    """With all that a problem has."""
    answer = await client.request(method, path)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert isinstance(problem["detail"], str)
    assert isinstance(problem["title"], str)


async def test_a_method_that_is_not_allowed_is_told_which_are(client: httpx.AsyncClient) -> None:
    """In the header, as HTTP wants it, and in words."""
    answer = await client.put("/api/v1/dlq")

    assert "GET" in answer.headers["allow"]
    assert "GET" in answer.json()["detail"]


async def test_what_a_route_takes_can_be_asked(client: httpx.AsyncClient) -> None:
    """By OPTIONS."""
    answer = await client.options("/api/v1/payments/deposit")

    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")


class TestInternalErrors:
    """Mistakes of ours."""

    @pytest.fixture
    async def client(self, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
        """Speak to a service with a mistake in it."""

        async def broken(*_: Any) -> None:
            raise RuntimeError("the secret")

        monkeypatch.setattr("api.payment_reads.PaymentReads.get", broken)
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://ledger.test") as client:
            yield client

    async def test_a_500_shows_nothing_inside_and_is_found_in_the_log(
        self, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By the id of the request."""
        answer = await client.get("/api/v1/payments/1", headers={"X-Request-ID": "find-me"})

        output = capsys.readouterr()
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert "RuntimeError" not in answer.text
        assert answer.json()["request_id"] == "find-me"
        assert "request_failed" in output.out + output.err
        assert "find-me" in output.out + output.err
