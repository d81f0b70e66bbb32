"""The limit of waiting payments over HTTP: 429 for a payment, for one of a batch, and for a batch without any room."""

import httpx
import pytest

from api.settings import Settings

pytestmark = pytest.mark.anyio

BODY = {"user_id": 2, "deposit": 5}
ITEM = {"type": "deposit", "user_id": 2, "amount": 5}


@pytest.fixture
def settings() -> Settings:
    """Return settings with room for two payments of a user."""
    return Settings.load({"LIMIT_WAITING_PAYMENTS": "2"})


async def test_a_user_with_too_many_waiting_payments_gets_a_429(client: httpx.AsyncClient) -> None:
    """The answer says how many, and when to come back; a replay is answered; other users go on."""
    payments = "/api/v1/payments"
    items = [ITEM | {"idempotency_key": f"k{number}"} for number in range(3)]

    some = await client.post(f"{payments}/batch", json={"payments": items})
    alone = await client.post(f"{payments}/deposit", json=BODY)
    none = await client.post(f"{payments}/batch", json={"payments": [ITEM, ITEM]})
    replay = await client.post(f"{payments}/deposit", json=BODY, headers={"Idempotency-Key": "k0"})
    other = await client.post(f"{payments}/deposit", json=BODY | {"user_id": 1})

    results = some.json()["results"]
    assert [result.get("code") or result["status"] for result in results] == [
        "processing",
        "processing",
        "too_many_waiting",
    ]
    assert results[2]["status"] == 429
    assert (alone.status_code, alone.json()["code"], alone.headers["retry-after"]) == (429, "too_many_waiting", "1")
    assert alone.json()["detail"].startswith("User 2 has 2 payments that have not ended")
    assert (none.status_code, none.json()["code"]) == (429, "too_many_waiting")
    assert (replay.status_code, replay.headers["idempotent-replayed"]) == (202, "true")
    assert other.status_code == 202
