"""Users over HTTP: opened once, read at once, and their statements add up."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from ledger.settings import Settings
from tests.api.seeds import Seeds

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, b'{"id":1,"balance":0.00,"available":0.00,"held":0.00,"currency":"USD"}'),
        ({"balance": "12.5"}, b'{"id":1,"balance":12.50,"available":12.50,"held":0.00,"currency":"USD"}'),
        ({"balance": 7, "currency": "JPY"}, b'{"id":1,"balance":7,"available":7,"held":0,"currency":"JPY"}'),
        ({"currency": None, "name": "x"}, b'{"id":1,"balance":0.00,"available":0.00,"held":0.00,"currency":"USD"}'),
    ],
)
async def test_a_user_is_opened_and_can_be_read_at_once(
    client: httpx.AsyncClient, body: Mapping[str, object], expected: bytes
) -> None:
    """While no projector runs, he is read as he was opened."""
    opened = await client.post("/api/v1/users/", json=body)
    read = await client.get(opened.headers["location"])

    assert (opened.status_code, opened.content) == (201, expected)
    assert (read.status_code, read.content) == (200, expected)


async def test_opening_a_user_twice_with_one_key_opens_one(client: httpx.AsyncClient) -> None:
    """The same answer comes again, and another request under the key is refused."""
    headers = {"Idempotency-Key": "k"}

    first = await client.post("/api/v1/users", json={"balance": 5}, headers=headers)
    again = await client.post("/api/v1/users", json={"balance": "5.00"}, headers=headers)
    other = await client.post("/api/v1/users", json={"balance": 6}, headers=headers)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"balance": -1}, "amount_invalid", "balance"),
        ({"balance": "x"}, "amount_invalid", "balance"),
        ({"balance": 1.001}, "amount_invalid", "balance"),
        ({"balance": 10**14}, "amount_invalid", "balance"),
        ({"balance": None}, "amount_invalid", "balance"),
        ({"currency": "XXX"}, "currency_unknown", "currency"),
        ({"currency": "usd"}, "currency_unknown", "currency"),
        ({"currency": ""}, "currency_unknown", "currency"),
        ({"currency": 5}, "request_invalid", "currency"),
        ([], "request_invalid", ""),
    ],
)
async def test_a_user_that_cannot_be_opened_is_422_and_says_why(
    client: httpx.AsyncClient, body: object, code: str, path: str
) -> None:
    """The place in the request is named."""
    answer = await client.post("/api/v1/users", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["path"] == path


async def test_a_users_balance_is_read_from_the_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """What is held is not available."""
    seeds.account(1, posted_minor=100_050, held_minor=5_100)

    answer = await client.get("/api/v1/users/1")

    assert answer.content == b'{"id":1,"balance":1000.50,"available":949.50,"held":51.00,"currency":"USD"}'


@pytest.mark.parametrize("route", ["", "/balance", "/balance?position=0", "/transactions", "/statement"])
async def test_an_unknown_user_is_404(client: httpx.AsyncClient, route: str) -> None:
    """On every route."""
    answer = await client.get(f"/api/v1/users/9{route}")

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


async def test_a_balance_can_be_read_as_it_was(client: httpx.AsyncClient) -> None:
    """At a position or at a time, both inclusive; without either, as it is."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 50})

    now = (await client.get("/api/v1/users/1/balance")).json()
    opened = (await client.get("/api/v1/users/1/balance", params={"position": 1})).json()
    at = (await client.get("/api/v1/users/1/balance", params={"at": opened["at"]})).json()
    with_offset = await client.get("/api/v1/users/1/balance", params={"at": opened["at"].replace("Z", "+00:00")})

    assert (now["balance"], now["held"], now["available"], now["position"]) == (100, 51, 49, 3)
    assert (opened["balance"], opened["held"], opened["position"]) == (100, 0, 1)
    assert at == opened == with_offset.json()


@pytest.mark.parametrize("point", ["position=0", "at=2000-01-01T00:00:00Z"])
async def test_before_it_was_opened_there_is_no_balance(client: httpx.AsyncClient, point: str) -> None:
    """That is another answer than for a user that nobody knows."""
    await client.post("/api/v1/users", json={})

    answer = await client.get(f"/api/v1/users/1/balance?{point}")

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_open_then")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("balance?at=2026-01-01T00:00:00", "at"),
        ("balance?at=1763890000", "at"),
        ("balance?at=yesterday", "at"),
        ("balance?at=0001-01-01T00:00:00%2B10:00", "at"),
        ("balance?at=", "at"),
        ("balance?at=2026-01-01T00:00:00Z&position=1", "position"),
        ("balance?position=-1", "position"),
        ("balance?position=9007199254740992", "position"),
        ("balance?position=x", "position"),
        ("balance?position=null", "position"),
        ("balance?at=null", "at"),
        ("statement?from=2026-01-01", "from"),
        ("statement?to=2026-01-01T00:00:00+00:00", "to"),
        ("transactions?limit=501", "limit"),
        ("transactions?limit=0", "limit"),
        ("transactions?limit=x", "limit"),
        ("transactions?status=done", "status"),
        ("transactions?type=transfer", "type"),
    ],
)
async def test_a_query_that_is_not_acceptable_is_422(client: httpx.AsyncClient, query: str, path: str) -> None:
    """The parameter is named."""
    await client.post("/api/v1/users", json={})

    answer = await client.get(f"/api/v1/users/1/{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["path"] == path


async def test_everybody_gets_his_own_page(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Pages that are asked for at the same moment are read together: of all users, at all places, of all lengths."""
    for user_id in (1, 2, 3):
        seeds.account(user_id, posted_minor=0)
    for number in range(1, 61):
        seeds.payment(number, account_id=(number - 1) % 3 + 1)
    asked = [(user_id, limit) for user_id in (1, 2, 3, 4) for limit in (1, 2, 19, 20, 21)] * 3

    pages = await asyncio.gather(
        *(client.get(f"/api/v1/users/{user_id}/transactions", params={"limit": limit}) for user_id, limit in asked)
    )

    for (user_id, limit), answer in zip(asked, pages, strict=True):
        page = answer.json() if answer.status_code == 200 else {"items": [], "next_cursor": None}
        expected = [number for number in range(60, 0, -1) if (number - 1) % 3 + 1 == user_id]
        assert [payment["payment_id"] for payment in page["items"]] == expected[:limit]
        assert (page["next_cursor"] is not None) == (limit < len(expected))


async def test_a_users_transactions_are_his_payments(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Newest first, page by page, filtered like any list of payments."""
    seeds.account(1, posted_minor=0)
    for number in range(3):
        seeds.payment(1 + 1024 * number, state="failed" if number == 1 else "succeeded")
    seeds.payment(2, account_id=2)

    first = (await client.get("/api/v1/users/1/transactions", params={"limit": 2})).json()
    second = (
        await client.get("/api/v1/users/1/transactions", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    failed = (await client.get("/api/v1/users/1/transactions", params={"status": "failed"})).json()

    assert [item["payment_id"] for item in first["items"] + second["items"]] == [2049, 1025, 1]
    assert second["next_cursor"] is None
    assert [item["payment_id"] for item in failed["items"]] == [1025]


async def test_a_statement_adds_up(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """The opening, then one signed entry for each settled payment, oldest first, with the balance after it."""
    seeds.account(1, posted_minor=121_600)
    seeds.opening(1, 100_000)
    seeds.opening(2, 5, account_id=2)
    seeds.settled(5, 19_600, 119_600, minutes=1)
    seeds.settled(6, -5_100, 114_500, minutes=2)
    seeds.settled(9, 7_100, 121_600, minutes=3)

    statement = (await client.get("/api/v1/users/1/statement")).json()

    assert (statement["opening_balance"], statement["closing_balance"]) == (0, 1216)
    assert [(item["payment_id"], item["amount"], item["balance_after"]) for item in statement["items"]] == [
        (None, 1000, 1000),
        (5, 196, 1196),
        (6, -51, 1145),
        (9, 71, 1216),
    ]
    assert statement["items"][1]["at"] == "2026-11-23T09:31:00.000000Z"


@pytest.mark.parametrize(
    ("start", "end", "opening", "closing", "positions"),
    [
        ("09:31:00", "09:33:00", 1000, 1145, [5, 6]),
        ("09:31:00.000001", "09:33:00.000001", 1196, 1216, [6, 9]),
        ("09:30:00", "09:30:00", 0, 0, []),
        ("08:00:00", "08:30:00", 0, 0, []),
        ("10:00:00", "11:00:00", 1216, 1216, []),
        ("09:33:00", "09:31:00", 1145, 1145, []),
    ],
)
async def test_a_statements_range_begins_at_from_and_ends_before_to(
    client: httpx.AsyncClient,
    seeds: Seeds,
    start: str,
    end: str,
    opening: int,
    closing: int,
    positions: list[int],
) -> None:
    """The balances are those before and after the range."""
    seeds.account(1, posted_minor=121_600)
    seeds.opening(1, 100_000)
    seeds.settled(5, 19_600, 119_600, minutes=1)
    seeds.settled(6, -5_100, 114_500, minutes=2)
    seeds.settled(9, 7_100, 121_600, minutes=3)

    answer = await client.get(
        "/api/v1/users/1/statement", params={"from": f"2026-11-23T{start}Z", "to": f"2026-11-23T{end}Z"}
    )

    statement = answer.json()
    assert (statement["opening_balance"], statement["closing_balance"]) == (opening, closing)
    assert [item["position"] for item in statement["items"]] == positions


async def test_a_statements_pages_belong_together_while_payments_go_on(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """What is settled after the first page was read is in none of its pages and in no balance."""
    seeds.account(1, posted_minor=121_600)
    seeds.opening(1, 100_000)
    seeds.settled(5, 19_600, 119_600)

    first = (await client.get("/api/v1/users/1/statement", params={"limit": 1})).json()
    seeds.settled(9, 2_000, 121_600)
    second = (await client.get("/api/v1/users/1/statement", params={"limit": 1, "cursor": first["next_cursor"]})).json()

    assert [item["position"] for item in first["items"] + second["items"]] == [1, 5]
    assert second["next_cursor"] is None
    assert {page["closing_balance"] for page in (first, second)} == {1196}


async def test_a_cursor_of_one_list_is_none_of_another(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Nor of another user, nor with other filters."""
    for account_id in (1, 2):
        seeds.account(account_id, posted_minor=0)
        for number in range(2):
            seeds.payment(account_id + 1024 * number, account_id=account_id)
    cursor = (await client.get("/api/v1/users/1/transactions?limit=1")).json()["next_cursor"]

    answers = [
        await client.get(f"{path}cursor={cursor}")
        for path in (
            "/api/v1/users/2/transactions?",
            "/api/v1/users/1/transactions?status=success&",
            "/api/v1/users/1/statement?",
            "/api/v1/payments?user_id=1&",
            "/api/v1/payments?",
        )
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "cursor_invalid")] * 5


class TestCurrency:
    """The ledger's own currency is a setting."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Count in euros."""
        return Settings.load({"LEDGER_CURRENCY": "eur"})

    async def test_a_user_without_a_currency_gets_the_ledgers(self, client: httpx.AsyncClient) -> None:
        """Whatever it is set to."""
        answer = await client.post("/api/v1/users", json={"balance": 1})

        assert answer.json()["currency"] == "EUR"
