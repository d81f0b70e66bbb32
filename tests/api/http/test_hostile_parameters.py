"""Hostile ids, queries and cursors: each is refused with a problem that says why, and has no effect."""

import httpx
import pytest

from tests.api.http.hostile import JSON, assert_problem, database, hostile
from tests.support.seeds import Seeds

__all__ = ["database", "hostile"]

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "identifier",
    [
        "0",
        "-1",
        "1.5",
        "9007199254740992",
        "9223372036854775808",
        "1e300",
        "1e400",
        "9" * 5000,
        "true",
        "null",
        "[1]",
        '""',
        '" 1"',
        '"+1"',
        '"1_0"',
        '"٧"',
        '"one"',
        '"1; DROP TABLE events"',
        '"1\\u0000"',
    ],
)
async def test_ids_in_bodies(hostile: httpx.AsyncClient, identifier: str) -> None:
    """An id is a whole number from 1 to 2^53 - 1."""
    body = f'{{"user_id": {identifier}, "deposit": 5}}'.encode()

    answer = await hostile.post("/api/v1/payments/deposit", content=body, headers=JSON)

    assert_problem(answer, 422, "request_invalid")
    assert answer.json()["errors"][0]["path"] == "user_id"


@pytest.mark.parametrize(
    "identifier",
    ["0", "-1", "1.5", "+1", "%201", "1_0", "0x1", "9007199254740992", "9" * 30, "9" * 5000, "1e999", "%D9%A7", "%00",
     "1%00", "%FF", "%ED%A0%80", "1'--", "null", "true", "nan", "1;drop"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["users/{}", "users/{}/statement", "payments/{}", "payments/{}/events"])
async def test_ids_in_addresses(hostile: httpx.AsyncClient, path: str, identifier: str) -> None:
    """The same holds for ids in addresses."""
    answer = await hostile.get(f"/api/v1/{path.format(identifier)}")

    assert_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(
    "query",
    [
        "limit=9999999999999999999999",
        "limit=1e400",
        "limit=nan",
        "limit=",
        "limit=5&limit=0",
        "limit=%FF",
        "limit=null",
        "user_id=null",
        "user_id=NULL",
        "user_id=nU%6cl",
        "user_id=1&user_id=null",
        "status=null",
        "status=%6eull",
        "type=null",
        "type=Null",
        "user_id=9007199254740992",
        "user_id=0",
        "user_id='%20OR%201=1",
        "user_id=%00",
        "status=%00",
        "status=%27;--",
        "type=%F0%9F%92%B8",
    ],
)
async def test_queries(hostile: httpx.AsyncClient, query: str) -> None:
    """A parameter with a malformed value is refused."""
    answer = await hostile.get(f"/api/v1/payments?{query}")

    assert_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(
    "query", ["%", "%zz", "x=nullable", "=", "&&&", "%00=1", "a" * 10_000, "limit", "x=%FF", "[]=1", "limit=5;"]
)
async def test_odd_queries_do_no_harm(hostile: httpx.AsyncClient, query: str) -> None:
    """Unknown parameters are ignored or refused, and cause no error."""
    answer = await hostile.get(f"/api/v1/payments?{query}")

    assert answer.status_code in {200, 422}


@pytest.mark.parametrize(
    "cursor",
    ["x", "%00", "%FF", "W10", "AAAAAAAAAABb", "AAAAAAAAAABbMV0", "====", "é", "-1", "nul", "A" * 199],
)
async def test_cursors(hostile: httpx.AsyncClient, cursor: str) -> None:
    """A cursor that no list returned is refused."""
    for path in ("payments", "users/1/transactions", "users/1/statement"):
        assert_problem(await hostile.get(f"/api/v1/{path}?cursor={cursor}"), 422, "cursor_invalid")


async def test_a_cursor_is_good_for_its_own_list_only(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """It is refused on another route, for another user, with other filters, and if it is incomplete."""
    for payment_id in (1, 1025, 2, 1026):
        seeds.payment(payment_id, account_id=payment_id % 1024)
    page = (await client.get("/api/v1/payments?user_id=1&limit=1")).json()
    cursor = page["next_cursor"]

    assert (await client.get(f"/api/v1/payments?user_id=1&cursor={cursor}")).status_code == 200
    for query in ("payments?", "payments?user_id=2&", "payments?user_id=1&status=new&", "users/1/transactions?",
                  "users/1/statement?"):  # fmt: skip
        assert_problem(await client.get(f"/api/v1/{query}cursor={cursor}"), 422, "cursor_invalid")
    for bent in (cursor[:-1], cursor + "A", cursor.swapcase(), cursor + "=", f"%20{cursor}", cursor * 2):
        assert_problem(await client.get(f"/api/v1/payments?user_id=1&cursor={bent}"), 422, "cursor_invalid")


async def test_a_long_cursor_is_refused(hostile: httpx.AsyncClient) -> None:
    """A cursor above 200 characters is refused before it is read."""
    answer = await hostile.get(f"/api/v1/payments?cursor={'A' * 201}")

    assert_problem(answer, 422, "request_invalid")
