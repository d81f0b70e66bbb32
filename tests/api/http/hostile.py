"""A client that may send anything, on a ledger that none of its requests may change."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from ledger.store.database import Database
from tests.support.databases import fresh_ledger, traces

JSON = {"Content-Type": "application/json"}
SQL = "'; DROP TABLE events; --"


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Yield one ledger for the whole file. No test here may change it."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
async def hostile(client: httpx.AsyncClient, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that may send anything about user 1, and check afterwards that it had no effect."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})
    before = traces(database)
    yield client
    assert traces(database) == before


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    """Check that an answer is a complete problem document."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
