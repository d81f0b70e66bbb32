"""A gateway for certain currencies: a payment in another one is refused at its request, before anything is written."""

from contextlib import closing

import httpx
import pytest

from api.settings import Settings
from ledger.store.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings() -> Settings:
    """Return the settings of a service whose gateway moves dollars and euros."""
    return Settings.load({"GATEWAY_CURRENCIES": "USD, EUR"})


def events(database: Database) -> int:
    with closing(database.connect(application="test")) as connection:
        return connection.execute("SELECT FROM events").rowcount


async def test_a_payment_in_a_currency_that_the_gateway_does_not_move_is_refused(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Alone and in a batch; the user keeps their account, and others pay as before."""
    await client.post("/api/v1/users/", json={"balance": 1000, "currency": "JPY"})
    await client.post("/api/v1/users/", json={"balance": 1000, "currency": "EUR"})

    alone = [
        await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}),
        await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 5}),
    ]
    written = events(database)
    items = [{"type": "deposit", "user_id": user_id, "amount": 5} for user_id in (1, 2)]
    batch = await client.post("/api/v1/payments/batch", json={"payments": items})

    assert [(answer.status_code, answer.json()["code"]) for answer in alone] == [(422, "currency_not_supported")] * 2
    assert alone[0].json()["errors"][0]["path"] == "user_id"
    assert "JPY" in alone[0].json()["detail"]
    assert written == 2
    assert [result.get("code") for result in batch.json()["results"]] == ["currency_not_supported", None]


async def test_a_refused_request_takes_no_idempotency_key(client: httpx.AsyncClient, database: Database) -> None:
    """Nothing was written, so the key is free for another request."""
    await client.post("/api/v1/users/", json={"balance": 1000, "currency": "JPY"})
    key = {"Idempotency-Key": "k"}

    answers = [
        await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": amount}, headers=key)
        for amount in (5, 6)
    ]

    assert [answer.json()["code"] for answer in answers] == ["currency_not_supported"] * 2
    assert events(database) == 1
