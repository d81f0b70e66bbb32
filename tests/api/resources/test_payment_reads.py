"""Reading payments over HTTP: one payment, its history, and lists with filters and pages."""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest

from tests.api.resources.payment_requests import open_user
from tests.support.seeds import START, Seeds

pytestmark = pytest.mark.anyio


async def test_a_payment_is_read_from_the_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """It includes the number of attempts and the time of the next one."""
    retry_at = START + timedelta(seconds=1, microseconds=5)
    seeds.payment(1, state="in_doubt", attempts=3, last_error="timeout", next_retry_at=retry_at)

    answer = await client.get("/api/v1/payments/1")

    payment = answer.json()
    assert (payment["status"], payment["transaction_status"]) == ("processing", "processing")
    assert (payment["attempts"], payment["last_error"]) == (3, "timeout")
    assert payment["created_at"] == "2026-11-23T09:30:00.000000Z"
    assert payment["next_retry_at"] == "2026-11-23T09:30:01.000005Z"


async def test_a_list_of_payments_continues_from_page_to_page(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Payments are listed newest first and once each, even if others are added, and the last page has no cursor."""
    for number in range(5):
        seeds.payment(1 + 1024 * number)

    first = (await client.get("/api/v1/payments", params={"limit": 2})).json()
    seeds.payment(1 + 1024 * 5)
    second = (await client.get("/api/v1/payments", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    third = (await client.get("/api/v1/payments", params={"limit": 2, "cursor": second["next_cursor"]})).json()

    ids = [[item["payment_id"] for item in page["items"]] for page in (first, second, third)]
    assert ids == [[4097, 3073], [2049, 1025], [1]]
    assert third["next_cursor"] is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [2050, 2049, 1026, 1025, 2, 1]),
        ({"user_id": 2}, [2050, 1026, 2]),
        ({"user_id": 3}, []),
        ({"status": "failed"}, [1025]),
        ({"type": "withdraw"}, [2050]),
        ({"user_id": 1, "status": "processing"}, [2049]),
        ({"user_id": 2, "type": "withdraw", "status": "new"}, [2050]),
        ({"user_id": 2, "type": "withdraw", "status": "failed"}, []),
    ],
)
async def test_a_list_of_payments_can_be_filtered(
    client: httpx.AsyncClient, seeds: Seeds, filters: Mapping[str, str], expected: list[int]
) -> None:
    """The filters are user, status and type, each alone or together."""
    seeds.payment(1)
    seeds.payment(2, account_id=2)
    seeds.payment(1025, state="failed")
    seeds.payment(1026, account_id=2)
    seeds.payment(2049, state="in_doubt")
    seeds.payment(2050, account_id=2, kind="withdraw", state="new")

    answer = await client.get("/api/v1/payments/", params=filters)

    assert [item["payment_id"] for item in answer.json()["items"]] == expected
    assert answer.json()["next_cursor"] is None


async def test_a_page_examines_a_limited_number_of_payments(
    client: httpx.AsyncClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be empty and still have a next one. The payment is found in the end."""
    monkeypatch.setattr("api.queries.payments.SCANNED_MAX", 2)
    seeds.payment(1, state="failed")
    for number in range(1, 4):
        seeds.payment(1 + 1024 * number)

    found: list[int] = []
    pages = 0
    cursor: str | None = None
    while pages == 0 or cursor is not None:
        params = {"status": "failed", "user_id": "1"} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get("/api/v1/payments", params=params)).json()
        found += [item["payment_id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1

    assert (found, pages) == ([1], 3)


async def test_a_payments_history_lists_its_events(client: httpx.AsyncClient) -> None:
    """Events have positions, and the request's id is the command's."""
    await open_user(client, 10)
    await client.post(
        "/api/v1/payments/withdraw", json={"user_id": 1, "amount": 50}, headers={"X-Request-ID": "my-request"}
    )

    answer = await client.get("/api/v1/payments/1/events")

    items = answer.json()["items"]
    assert [(item["position"], item["version"], item["topic"]) for item in items] == [
        (2, 1, "payment.requested"),
        (3, 2, "payment.failed"),
    ]
    assert items[0]["command_id"] == "my-request"
    assert items[1]["data"]["reason"] == "insufficient_funds"


@pytest.mark.parametrize("path", ["/api/v1/payments/77", "/api/v1/payments/77/events"])
async def test_an_unknown_payment_is_404(client: httpx.AsyncClient, path: str) -> None:
    """It is neither in the read model nor in the log."""
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")
    assert "77" in answer.json()["detail"]
