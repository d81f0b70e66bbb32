"""Users over HTTP: opened once, readable at once, with statements that add up."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from litestar import Litestar

from api.context import AppContext
from api.settings import Settings
from ledger.store.database import Database
from tests.api.cli.shell import project
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, b'{"id":1,"balance":0.00,"available":0.00,"held":0.00,"currency":"USD"}'),
        ({"balance": "12.5"}, b'{"id":1,"balance":12.50,"available":12.50,"held":0.00,"currency":"USD"}'),
        ({"balance": 7, "currency": "JPY"}, b'{"id":1,"balance":7,"available":7,"held":0,"currency":"JPY"}'),
        ({"currency": None}, b'{"id":1,"balance":0.00,"available":0.00,"held":0.00,"currency":"USD"}'),
    ],
)
async def test_a_user_is_opened_and_can_be_read_at_once(
    client: httpx.AsyncClient, body: Mapping[str, object], expected: bytes
) -> None:
    """As long as no projector runs, the opening state is returned."""
    opened = await client.post("/api/v1/users/", json=body)
    read = await client.get(opened.headers["location"])

    assert (opened.status_code, opened.content) == (201, expected)
    assert (read.status_code, read.content) == (200, expected[:-1] + b',"partition":0,"position":1}')


@pytest.mark.parametrize(
    ("balance", "query", "opening", "closing", "items"),
    [
        (1000, {}, 0, 1000, [1000]),
        (1000, {"from": "2020-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z"}, 0, 1000, [1000]),
        (1000, {"from": "2999-01-01T00:00:00Z"}, 1000, 1000, []),
        (1000, {"to": "2020-01-01T00:00:00Z"}, 0, 0, []),
        (1000, {"from": "2999-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"}, 1000, 1000, []),
        (0, {}, 0, 0, [0]),
    ],
)
async def test_a_statement_agrees_with_the_user_while_the_read_models_are_behind(
    client: httpx.AsyncClient,
    database: Database,
    balance: int,
    query: Mapping[str, str],
    opening: int,
    closing: int,
    items: list[int],
) -> None:
    """It is the statement of the opening at first, and the same when the read models have caught up."""
    await client.post("/api/v1/users", json={"balance": balance})

    user = (await client.get("/api/v1/users/1")).json()
    behind = (await client.get("/api/v1/users/1/statement", params=query)).json()
    await asyncio.to_thread(project, database)
    caught_up = (await client.get("/api/v1/users/1/statement", params=query)).json()

    assert (behind["opening_balance"], behind["closing_balance"]) == (opening, closing)
    assert [item["amount"] for item in behind["items"]] == items
    assert (user["balance"], user["position"], behind["position"]) == (balance, 1, 1)
    assert {**behind, "position": None} == {**caught_up, "position": None}


async def test_a_user_and_its_statement_say_as_of_which_position_they_speak(
    client: httpx.AsyncClient, database: Database
) -> None:
    """It is the read models' own, also while the log is ahead of them and after events of other users."""
    for _ in range(3):
        await client.post("/api/v1/users", json={"balance": 5})
    await asyncio.to_thread(project, database)
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 1})

    user = (await client.get("/api/v1/users/1")).json()
    statement = (await client.get("/api/v1/users/1/statement")).json()
    now = (await client.get("/api/v1/users/1/balance")).json()

    assert (user["balance"], user["available"], user["position"]) == (5, 5, 3)
    assert (statement["closing_balance"], statement["position"]) == (5, 3)
    assert (now["balance"], now["available"], now["position"]) == (5, 3.98, 5)


async def test_opening_a_user_twice_with_one_key_opens_one(client: httpx.AsyncClient) -> None:
    """The same answer is returned again, and another request under the key is refused."""
    headers = {"Idempotency-Key": "k"}

    first = await client.post("/api/v1/users", json={"balance": 5}, headers=headers)
    again = await client.post("/api/v1/users", json={"balance": "5.00"}, headers=headers)
    other = await client.post("/api/v1/users", json={"balance": 6}, headers=headers)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_opening_a_user_again_after_the_ledgers_currency_changed_opens_none(
    client: httpx.AsyncClient, app: Litestar
) -> None:
    """A request that names no currency is the same request, whatever the settings are by now."""
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/api/v1/users", json={"balance": "5.50"}, headers=headers)
    context: AppContext = app.state["context"]
    context.settings = Settings.load({"LEDGER_CURRENCY": "JPY", "TRANSACTION_FEE": "7"})

    again = await client.post("/api/v1/users", json={"balance": "5.50"}, headers=headers)
    new = await client.post("/api/v1/users", json={"balance": "5"})

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert new.json()["currency"] == "JPY"


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
    """The path of the wrong field is named."""
    answer = await client.post("/api/v1/users", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["path"] == path


async def test_a_users_balance_is_read_from_the_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """A held amount is not available."""
    seeds.account(1, posted_minor=100_050, held_minor=5_100)

    answer = await client.get("/api/v1/users/1")

    amounts, _, position = answer.content.partition(b',"partition":')
    assert amounts == b'{"id":1,"balance":1000.50,"available":949.50,"held":51.00,"currency":"USD"'
    assert position == b'0,"position":0}'


@pytest.mark.parametrize("route", ["", "/balance", "/balance?position=0", "/transactions", "/statement"])
async def test_an_unknown_user_is_404(client: httpx.AsyncClient, route: str) -> None:
    """This holds on every route."""
    answer = await client.get(f"/api/v1/users/9{route}")

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


async def test_a_balance_can_be_read_as_it_was(client: httpx.AsyncClient) -> None:
    """The balance is given at a position or a time, both inclusive. Without either it is the current one."""
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
async def test_there_is_no_balance_before_the_opening(client: httpx.AsyncClient, point: str) -> None:
    """The answer differs from that for an unknown user."""
    await client.post("/api/v1/users", json={})

    answer = await client.get(f"/api/v1/users/1/balance?{point}")

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_open_then")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("position=2", "the log has no such position, it ends at 1"),
        ("position=999999", "the log has no such position, it ends at 1"),
        ("at=9999-01-01T00:00:00Z", "has not come yet"),
    ],
)
async def test_there_is_no_balance_at_what_has_not_come(client: httpx.AsyncClient, point: str, message: str) -> None:
    """A balance there may still change, so the present one would be a guess."""
    await client.post("/api/v1/users", json={"balance": 100})

    answer = await client.get(f"/api/v1/users/1/balance?{point}")

    expected = [{"path": point.partition("=")[0], "message": message}]
    assert (answer.status_code, answer.json()["errors"]) == (422, expected)


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


async def test_concurrent_reads_get_their_own_pages(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Concurrent reads of pages are coalesced, for all users, positions and lengths."""
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


async def test_a_users_transactions_are_the_users_payments(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """They are listed newest first, page by page, with the filters of any list of payments."""
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
    """The opening comes first, then one signed entry for each settled payment, oldest first, with its balance."""
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
    """A payment that settles after the first page was read is in no later page and in no balance."""
    seeds.account(1, posted_minor=121_600)
    seeds.opening(1, 100_000)
    seeds.settled(5, 19_600, 119_600)

    first = (await client.get("/api/v1/users/1/statement", params={"limit": 1})).json()
    seeds.settled(9, 2_000, 121_600)
    second = (await client.get("/api/v1/users/1/statement", params={"limit": 1, "cursor": first["next_cursor"]})).json()

    assert [item["position"] for item in first["items"] + second["items"]] == [1, 5]
    assert second["next_cursor"] is None
    assert {page["closing_balance"] for page in (first, second)} == {1196}


async def test_a_cursor_of_one_list_is_refused_by_another(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """It is also refused for another user and with other filters."""
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
    """The ledger's default currency is a setting."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Use euros by default."""
        return Settings.load({"LEDGER_CURRENCY": "eur"})

    async def test_a_user_without_a_currency_gets_the_ledgers(self, client: httpx.AsyncClient) -> None:
        """The default currency is that of the setting."""
        answer = await client.post("/api/v1/users", json={"balance": 1})

        assert answer.json()["currency"] == "EUR"
