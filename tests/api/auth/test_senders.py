"""The key that sent a request stands as `by` in every event of it, and an operator's name beside it."""

from collections.abc import Iterator

import httpx
import pytest

from api.operator.verification import verify
from ledger.store.database import Database
from projections.engine.rebuild import rebuild
from tests.api.auth.conftest import Keys, bearer, prepare
from tests.support.databases import execute, fresh_ledger

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield a prepared ledger for each test, because a decision changes payment 1."""
    with fresh_ledger(postgres_url) as database:
        prepare(database)
        yield database


OF_REQUEST = """
    SELECT convert_from(state, 'UTF8')::json ->> 'by', convert_from(state, 'UTF8')::json ->> 'operator' FROM events
"""


def senders(database: Database, request_id: str) -> set[tuple[str | None, str | None]]:
    """Return `by` and `operator` of the events that a request caused."""
    of_request = f"{OF_REQUEST} WHERE convert_from(state, 'UTF8')::json ->> 'command_id' = '{request_id}'"
    found = {(by, operator) for by, operator in execute(database, of_request)}
    assert found, request_id
    return found


async def test_each_route_that_changes_something_names_its_key(
    client: httpx.AsyncClient, database: Database, keys: Keys
) -> None:
    """Openings, payments alone and in a batch; the audit finds nothing."""
    text = keys.text()
    payments = [{"type": kind, "user_id": 1, "amount": 5} for kind in ("deposit", "withdraw")]
    for number, (path, body) in enumerate(
        {
            "users": {"balance": 5},
            "payments/deposit": {"user_id": 1, "deposit": 5},
            "payments/withdraw": {"user_id": 1, "amount": 5},
            "payments/batch": {"payments": payments},
        }.items()
    ):
        headers = bearer(text) | {"X-Request-ID": f"named-{number}"}
        answer = await client.post(f"/api/v1/{path}", json=body, headers=headers)

        assert answer.status_code in {200, 201, 202}, answer.text
        assert senders(database, f"named-{number}") == {(f"key:{text[3:19]}", None)}
    assert verify_all(database)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("requeue", {}),
        ("resolve", {"outcome": "failed"}),
        ("adjust", {"against": "account", "direction": "in", "amount": 5}),
    ],
)
async def test_a_decision_names_its_key_and_beside_it_the_operator(
    client: httpx.AsyncClient, database: Database, keys: Keys, path: str, body: dict[str, object]
) -> None:
    """The decision is made about payment 1, which failed; the same for all of its events."""
    text, request_id = keys.text(), f"decided-{path}"
    words = {"why": "the bank says so", "by": "Ada"}
    headers = bearer(text) | {"X-Request-ID": request_id, "Idempotency-Key": path}

    answer = await client.post(f"/api/v1/dlq/1/{path}", json=body | words, headers=headers)

    assert answer.status_code == 202, answer.text
    assert senders(database, request_id) == {(f"key:{text[3:19]}", "Ada")}
    assert verify_all(database)


async def test_a_payments_history_shows_both_names(client: httpx.AsyncClient, keys: Keys) -> None:
    """An event without an operator's name has no such field, as before."""
    headers = keys.make()
    opened = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers=headers)

    history = await client.get(f"/api/v1/payments/{opened.json()['payment_id']}/events", headers=headers)

    (event,) = history.json()["items"]
    assert event["by"].startswith("key:")
    assert "operator" not in event


async def test_an_idempotency_key_of_an_opening_belongs_to_the_key(client: httpx.AsyncClient, keys: Keys) -> None:
    """Two callers who happen to use the same one do not get each other's user."""
    first, second = keys.make(), keys.make()

    opened = [
        await client.post("/api/v1/users", json={"balance": 5}, headers=headers | {"Idempotency-Key": "u-1"})
        for headers in (first, first, second)
    ]

    assert opened[0].json()["id"] == opened[1].json()["id"] != opened[2].json()["id"]
    assert [answer.headers.get("idempotent-replayed") for answer in opened] == [None, "true", None]


def verify_all(database: Database) -> bool:
    """Verify the whole store."""
    rebuild(database)
    report = verify(database)
    assert report.errors == []
    return report.ok
