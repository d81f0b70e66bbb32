"""Idempotency keys over HTTP: one key is one payment, and a malformed key is refused."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from tests.api.resources.payment_requests import KEY, open_user

pytestmark = pytest.mark.anyio


async def test_the_same_key_fifty_times_at_once_is_one_payment(client: httpx.AsyncClient) -> None:
    """All answers have the same bytes, and all except one say that they are replays."""
    await open_user(client)

    answers = await asyncio.gather(
        *(
            client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers={"Idempotency-Key": KEY})
            for _ in range(50)
        )
    )
    history = await client.get("/api/v1/audit/events")
    metrics = await client.get("/api/v1/metrics")

    assert {answer.content for answer in answers} == {answers[0].content}
    assert {answer.status_code for answer in answers} == {202}
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 49
    assert history.json()["position"] == 2
    assert metrics.json()["idempotency_hits_total"] == 49


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("deposit", {"user_id": 1, "deposit": 201}),
        ("withdraw", {"user_id": 1, "amount": 200}),
    ],
)
async def test_a_key_used_for_another_request_is_refused(
    client: httpx.AsyncClient, route: str, body: Mapping[str, object]
) -> None:
    """A used key is refused for another amount and on another route."""
    await open_user(client)
    headers = {"Idempotency-Key": KEY}
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200}, headers=headers)

    answer = await client.post(f"/api/v1/payments/{route}", json=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("sent", "again", "same"),
    [
        ("abc", '"abc"', True),
        ("a" * 255, "a" * 255, True),
        ("two words", "two words", True),
        ("", "", False),
        ("abc", "abd", False),
    ],
)
async def test_a_key_counts_with_or_without_quotes_and_an_empty_one_is_none(
    client: httpx.AsyncClient, sent: str, again: str, *, same: bool
) -> None:
    """Two requests with the same key are one payment. Without a key they are two."""
    await open_user(client)

    ids = [
        (
            await client.post(
                "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers={"Idempotency-Key": key}
            )
        ).json()["payment_id"]
        for key in (sent, again)
    ]

    assert (ids[0] == ids[1]) is same


@pytest.mark.parametrize("key", [b"a" * 256, b"caf\xc3\xa9", b'""', b'" "', b"tab\there", b'"\x7f"'])
async def test_a_malformed_key_is_refused(client: httpx.AsyncClient, key: bytes) -> None:
    """The refused request has no effect."""
    await open_user(client)

    answer = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers=[(b"Idempotency-Key", key)]
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")
    assert answer.json()["errors"][0]["path"] == "Idempotency-Key"


@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a"), ("a", ""), ("", "a")])
async def test_two_keys_are_refused(client: httpx.AsyncClient, keys: tuple[str, str]) -> None:
    """One key would be ignored, and a client that sends the request again with the other one would pay twice."""
    await open_user(client)

    answer = await client.post(
        "/api/v1/payments/deposit",
        json={"user_id": 1, "deposit": 5},
        headers=[("Idempotency-Key", key) for key in keys],
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")
    assert (await client.get("/api/v1/audit/events")).json()["position"] == 1
