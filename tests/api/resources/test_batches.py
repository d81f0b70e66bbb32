"""Batches over HTTP: each payment is accepted or refused by itself."""

from typing import Any

import httpx
import pytest

from tests.api.resources.payment_requests import open_user

pytestmark = pytest.mark.anyio


async def test_a_batch_accepts_and_refuses_each_payment_by_itself(client: httpx.AsyncClient) -> None:
    """Results are in order and name the places of errors, and an item's key makes it safe to repeat."""
    await open_user(client, 100)
    payments: list[Any] = [
        {"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "a"},
        {"type": "deposit", "user_id": "1", "amount": "5.00", "idempotency_key": '"a"'},
        {"type": "withdraw", "user_id": 1, "amount": 1000},
        {"type": "transfer", "user_id": 1, "amount": 5},
        {"type": "deposit", "user_id": 1, "amount": "1,5"},
        {"type": "deposit", "user_id": 1, "amount": 1.005},
        {"type": "deposit", "user_id": 7, "amount": 5},
        {"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "é"},
        "no object",
        {"type": "withdraw", "user_id": 1, "amount": 20},
    ]

    first = await client.post("/api/v1/payments/batch", json={"payments": payments})
    again = await client.post("/api/v1/payments/batch", json={"payments": payments[:1]})

    results = first.json()["results"]
    assert first.status_code == 200
    assert [result.get("code") or result["type"] for result in results] == [
        "deposit",
        "deposit",
        "insufficient_funds",
        "request_invalid",
        "amount_invalid",
        "amount_invalid",
        "user_not_found",
        "idempotency_key_invalid",
        "request_invalid",
        "withdraw",
    ]
    assert results[0] == results[1] == again.json()["results"][0]
    assert results[2]["payment_id"] == 1025
    assert results[2]["available"] < results[2]["needed"]
    assert results[2]["errors"][0]["path"] == "payments[2].amount"
    assert results[3]["errors"][0]["path"] == "payments[3].type"
    assert results[4]["errors"][0]["path"] == "payments[4].amount"
    assert results[7]["errors"][0]["path"] == "payments[7].idempotency_key"
    assert results[8]["errors"][0]["path"] == "payments[8]"


async def test_a_key_for_a_whole_batch_is_refused(client: httpx.AsyncClient) -> None:
    """The key would be ignored, and a client that relies on it and sends the batch again would pay twice."""
    await open_user(client)
    batch = {"payments": [{"type": "deposit", "user_id": 1, "amount": 5}]}

    refused = await client.post("/api/v1/payments/batch", json=batch, headers={"Idempotency-Key": "k"})
    taken = await client.post("/api/v1/payments/batch", json=batch, headers={"Idempotency-Key": ""})

    assert (refused.status_code, refused.json()["code"]) == (422, "request_invalid")
    assert refused.json()["errors"][0]["path"] == "Idempotency-Key"
    assert taken.json()["results"][0]["payment_id"] == 1


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_payments(client: httpx.AsyncClient, count: int) -> None:
    """Smaller and larger batches are refused whole."""
    payments = [{"type": "deposit", "user_id": 1, "amount": 5}] * count

    answer = await client.post("/api/v1/payments/batch", json={"payments": payments})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["path"] == "payments"
