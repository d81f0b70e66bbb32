"""Payments over HTTP: taken once, answered the same for ever, refused with reasons, and readable at once."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Raw

from ledger.settings import Settings
from tests.api.seeds import START, Seeds

pytestmark = pytest.mark.anyio

KEY = "123e4567-e89b-12d3-a456-426614174000"


async def open_user(client: httpx.AsyncClient, balance: object = 1000, **fields: object) -> int:
    answer = await client.post("/api/v1/users/", json={"balance": balance, **fields})
    return int(answer.json()["id"])


def raw_fields(answer: httpx.Response) -> dict[str, str]:
    """Give the fields of an answer as they were written, so that 204.00 is not 204.0."""
    return {name: bytes(raw).decode() for name, raw in msgspec.json.decode(answer.content, type=dict[str, Raw]).items()}


async def test_the_originals_scenario(client: httpx.AsyncClient) -> None:
    """The first user is 1, his first payment is 1, and the same request again is answered with the same payment."""
    user = await client.post("/api/v1/users/", json={"balance": 1000})
    first = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200}, headers={"Idempotency-Key": KEY}
    )
    again = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200}, headers={"Idempotency-Key": KEY}
    )
    payment = await client.get("/api/v1/payments/1")

    assert (user.status_code, user.headers["location"]) == (201, "/api/v1/users/1")
    assert user.content == b'{"id":1,"balance":1000.00,"available":1000.00,"held":0.00,"currency":"USD"}'
    assert (first.status_code, first.headers["location"]) == (202, "/api/v1/payments/1")
    fields = raw_fields(first)
    created_at = fields.pop("created_at")
    assert fields == {
        "payment_id": "1",
        "user_id": "1",
        "type": '"deposit"',
        "status": '"processing"',
        "amount": "200.00",
        "deposit": "200.00",
        "withdraw": "null",
        "commission": "4.00",
        "currency": '"USD"',
    }
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert payment.status_code == 200
    assert raw_fields(payment) == {
        "payment_id": "1",
        "user_id": "1",
        "type": '"deposit"',
        "amount": "200.00",
        "commission": "4.00",
        "currency": '"USD"',
        "status": '"new"',
        "attempts": "0",
        "last_error": "null",
        "transaction_status": '"processing"',
        "next_retry_at": "null",
        "created_at": created_at,
        "updated_at": created_at,
    }


async def test_a_withdrawal_has_its_amount_under_withdraw(client: httpx.AsyncClient) -> None:
    """The fee comes on top, and the deposit's field is null."""
    await open_user(client)

    answer = await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 50})

    fields = raw_fields(answer)
    assert answer.status_code == 202
    assert (fields["withdraw"], fields["deposit"], fields["commission"]) == ("50.00", "null", "1.00")


async def test_too_little_money_is_422_and_recorded_as_failed(client: httpx.AsyncClient) -> None:
    """The refusal names the payment, a replay is the same to the byte, and the payment can be read at once."""
    await open_user(client, 50)
    request = {"user_id": 1, "amount": 50}

    first = await client.post("/api/v1/payments/withdraw", json=request, headers={"Idempotency-Key": "k"})
    again = await client.post("/api/v1/payments/withdraw", json=request, headers={"Idempotency-Key": "k"})
    payment = await client.get("/api/v1/payments/1")

    problem = first.json()
    assert first.status_code == 422
    assert first.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["type"]) == ("insufficient_funds", "/problems/insufficient_funds")
    assert problem["payment_id"] == 1
    assert problem["errors"][0]["path"] == "amount"
    assert problem["detail"].endswith("payment_id=1")
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (payment.json()["status"], payment.json()["last_error"]) == ("failed", "insufficient_funds")


async def test_the_same_key_fifty_times_at_once_is_one_payment(client: httpx.AsyncClient) -> None:
    """All are answered with the same bytes, and all but one say that they are replays."""
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
    """Neither another amount nor another route may take a key that is taken."""
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
    """Two requests with the same key are one payment; without a key they are two."""
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
async def test_a_key_that_cannot_be_kept_is_refused(client: httpx.AsyncClient, key: bytes) -> None:
    """And nothing is done under it."""
    await open_user(client)

    answer = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers=[(b"Idempotency-Key", key)]
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")
    assert answer.json()["errors"][0]["path"] == "Idempotency-Key"


@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a"), ("a", ""), ("", "a")])
async def test_two_keys_are_refused(client: httpx.AsyncClient, keys: tuple[str, str]) -> None:
    """One of them would be left out, and who sends the other again would pay twice."""
    await open_user(client)

    answer = await client.post(
        "/api/v1/payments/deposit",
        json={"user_id": 1, "deposit": 5},
        headers=[("Idempotency-Key", key) for key in keys],
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")
    assert (await client.get("/api/v1/audit/events")).json()["position"] == 1


@pytest.mark.parametrize(
    ("currency", "amount", "written", "fee"),
    [
        ("USD", "200", "200.00", "4.00"),
        ("USD", "2e2", "200.00", "4.00"),
        ("USD", "0.01", "0.01", "0.00"),
        ("USD", '"200.00"', "200.00", "4.00"),
        ("USD", "200.000", "200.00", "4.00"),
        ("JPY", "200", "200", "4"),
        ("JPY", "200.0", "200", "4"),
        ("BHD", "200.125", "200.125", "4.003"),
        ("CLF", "0.0050", "0.0050", "0.0001"),
        ("USD", "9007199254740.99", "9007199254740.99", "180143985094.82"),
    ],
)
async def test_amounts_go_in_and_come_out_exactly(
    client: httpx.AsyncClient, currency: str, amount: str, written: str, fee: str
) -> None:
    """As numbers or strings, in currencies of any decimals, and never through a float."""
    await open_user(client, 0, currency=currency)

    answer = await client.post(
        "/api/v1/payments/deposit",
        content=f'{{"user_id": 1, "deposit": {amount}}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 202, answer.text
    assert (raw_fields(answer)["deposit"], raw_fields(answer)["commission"]) == (written, fee)


async def test_a_batch_takes_and_refuses_each_payment_by_itself(client: httpx.AsyncClient) -> None:
    """In order, with the places of what is wrong, and an item's key makes it safe to repeat."""
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
    assert results[2]["errors"][0]["path"] == "payments[2].amount"
    assert results[3]["errors"][0]["path"] == "payments[3].type"
    assert results[4]["errors"][0]["path"] == "payments[4].amount"
    assert results[7]["errors"][0]["path"] == "payments[7].idempotency_key"
    assert results[8]["errors"][0]["path"] == "payments[8]"


async def test_a_key_for_a_whole_batch_is_refused(client: httpx.AsyncClient) -> None:
    """It would be left out, and who sends the batch again because of it would pay twice."""
    await open_user(client)
    batch = {"payments": [{"type": "deposit", "user_id": 1, "amount": 5}]}

    refused = await client.post("/api/v1/payments/batch", json=batch, headers={"Idempotency-Key": "k"})
    taken = await client.post("/api/v1/payments/batch", json=batch, headers={"Idempotency-Key": ""})

    assert (refused.status_code, refused.json()["code"]) == (422, "request_invalid")
    assert refused.json()["errors"][0]["path"] == "Idempotency-Key"
    assert taken.json()["results"][0]["payment_id"] == 1


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_payments(client: httpx.AsyncClient, count: int) -> None:
    """Others are refused whole."""
    payments = [{"type": "deposit", "user_id": 1, "amount": 5}] * count

    answer = await client.post("/api/v1/payments/batch", json={"payments": payments})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["path"] == "payments"


async def test_a_payment_is_read_from_the_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """With how often the gateway was called, and when it will be next."""
    retry_at = START + timedelta(seconds=1, microseconds=5)
    seeds.payment(1, state="in_doubt", attempts=3, last_error="timeout", next_retry_at=retry_at)

    answer = await client.get("/api/v1/payments/1")

    payment = answer.json()
    assert (payment["status"], payment["transaction_status"]) == ("processing", "processing")
    assert (payment["attempts"], payment["last_error"]) == (3, "timeout")
    assert payment["created_at"] == "2026-11-23T09:30:00.000000Z"
    assert payment["next_retry_at"] == "2026-11-23T09:30:01.000005Z"


async def test_a_list_of_payments_goes_on_from_page_to_page(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Newest first, each payment once, also when others come in meanwhile; the last page says so."""
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
    """By user, status and type, each alone or together."""
    seeds.payment(1)
    seeds.payment(2, account_id=2)
    seeds.payment(1025, state="failed")
    seeds.payment(1026, account_id=2)
    seeds.payment(2049, state="in_doubt")
    seeds.payment(2050, account_id=2, kind="withdraw", state="new")

    answer = await client.get("/api/v1/payments/", params=filters)

    assert [item["payment_id"] for item in answer.json()["items"]] == expected
    assert answer.json()["next_cursor"] is None


async def test_a_filter_that_few_payments_pass_looks_at_so_many_a_page(
    client: httpx.AsyncClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may then be empty and have a next one all the same; what is looked for is found in the end."""
    monkeypatch.setattr("api.payment_reads.LOOKED_AT_MAX", 2)
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


async def test_a_payments_history_is_given_event_by_event(client: httpx.AsyncClient) -> None:
    """With positions, and the request's id as the command's."""
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
    """It is neither in the read model nor in the events."""
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")
    assert "77" in answer.json()["detail"]


@pytest.mark.parametrize("route", ["deposit", "withdraw"])
async def test_a_payment_for_an_unknown_user_is_404(client: httpx.AsyncClient, route: str) -> None:
    """Nothing is recorded for him."""
    answer = await client.post(f"/api/v1/payments/{route}", json={"user_id": 9, "deposit": 1, "amount": 1})

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


@pytest.mark.parametrize("path", ["/api/v1/payments/deposit", "/api/v1/payments/deposit/", "/api/v1/payments//deposit"])
async def test_a_trailing_slash_makes_no_difference(client: httpx.AsyncClient, path: str) -> None:
    """And nobody is redirected."""
    await open_user(client)

    answer = await client.post(path, json={"user_id": 1, "deposit": 5})

    assert answer.status_code == 202


async def test_an_account_cannot_be_brought_above_its_limit(client: httpx.AsyncClient) -> None:
    """The deposit is refused before any money moves."""
    await open_user(client, "10000000000000")
    for _ in range(8):
        await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10000000000000"})

    answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10000000000000"})

    assert (answer.status_code, answer.json()["code"]) == (422, "balance_limit_exceeded")


class TestFee:
    """The fee's rate is a setting."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Charge 1.75 percent."""
        return Settings.load({"TRANSACTION_FEE": "1.75"})

    async def test_the_fee_follows_the_setting(self, client: httpx.AsyncClient) -> None:
        """And is rounded half up."""
        await open_user(client)

        answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10.00"})

        assert raw_fields(answer)["commission"] == "0.18"
