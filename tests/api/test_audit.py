"""The audit over HTTP: the log in order, its seals proven page by page, and books that balance."""

import asyncio
from contextlib import closing
from typing import Any, Final

import httpx
import msgspec
import pytest

from api.auditing import read_balance, sum_up, verify
from ledger.database import Database
from tests.api.seeds import Seeds
from tests.api.test_cli import project

pytestmark = pytest.mark.anyio

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@pytest.fixture
async def busy(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Give a client of a ledger with five events."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"X-Request-ID": "first"})
    for _ in range(2):
        await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 10})
    return client


async def test_the_log_is_given_in_order_with_seals(busy: httpx.AsyncClient) -> None:
    """Page by page, each event once."""
    first = (await busy.get("/api/v1/audit/events", params={"limit": 3})).json()
    second = (await busy.get("/api/v1/audit/events", params={"limit": 3, "after": first["next_after"]})).json()

    items = first["items"] + second["items"]
    assert [item["position"] for item in items] == [1, 2, 3, 4, 5]
    assert [item["topic"] for item in items[:3]] == ["account.opened", "payment.requested", "account.funds_held"]
    assert items[0]["command_id"] == "first"
    assert len({item["seal"] for item in items}) == 5
    assert (first["position"], second["next_after"]) == (5, None)


async def test_behind_the_logs_end_is_nothing(busy: httpx.AsyncClient) -> None:
    """An empty page, and no next one."""
    page = (await busy.get("/api/v1/audit/events", params={"after": 99})).json()

    assert page == {"items": [], "position": 5, "next_after": None}


async def test_seals_are_verified_page_by_page(busy: httpx.AsyncClient) -> None:
    """Up to the head, whose digest is the last seal."""
    first = (await busy.get("/api/v1/audit/verify", params={"limit": 3})).json()
    second = (await busy.get("/api/v1/audit/verify", params={"after": first["next_after"]})).json()

    assert (first["ok"], first["events"], first["checked_to"]) == (True, 3, 3)
    assert (second["ok"], second["events"], second["next_after"]) == (True, 2, None)
    assert second["checked_digest"] == second["digest"]


async def test_a_changed_event_is_found(busy: httpx.AsyncClient, database: Database) -> None:
    """By its position."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE events SET state = state || ' ' WHERE notification_id = 4")

    verified = (await busy.get("/api/v1/audit/verify")).json()

    assert not verified["ok"]
    assert [error["position"] for error in verified["errors"]] == [4]


async def test_a_changed_head_is_found(busy: httpx.AsyncClient, database: Database) -> None:
    """On the page that comes to the log's end."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE head SET digest = decode(repeat('00', 32), 'hex')")

    first = (await busy.get("/api/v1/audit/verify", params={"limit": 3})).json()
    last = (await busy.get("/api/v1/audit/verify", params={"after": 3})).json()
    beyond = (await busy.get("/api/v1/audit/verify", params={"after": 99})).json()

    assert (first["ok"], beyond["ok"]) == (True, True)
    assert [error["position"] for error in last["errors"]] == [5]


async def test_the_books_balance(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Each currency by itself, with debits above zero and credits below."""
    seeds.account(posted_minor=120_000)
    seeds.opening(1, 100_000)
    seeds.settled(5, 20_000, 120_000)

    books = (await client.get("/api/v1/audit/trial-balance")).json()

    assert books == {
        "balanced": True,
        "position": 5,
        "currencies": [
            {
                "currency": "USD",
                "entries": 2,
                "customers": -1200,
                "gateway_clearing": 200,
                "fee_revenue": 0,
                "opening_equity": 1000,
                "sum": 0,
                "accounts": 1200,
            }
        ],
    }


async def test_books_that_differ_from_the_accounts_do_not_balance(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Although their postings sum up to zero."""
    seeds.account(posted_minor=99_999)
    seeds.opening(1, 100_000)

    books = (await client.get("/api/v1/audit/trial-balance")).json()

    assert books["balanced"] is False
    assert (books["currencies"][0]["sum"], books["currencies"][0]["accounts"]) == (0, 999.99)


async def test_the_audit_is_the_same_from_the_command_line(busy: httpx.AsyncClient, database: Database) -> None:
    """Page by page or at once: the same seals, the same balance, the same books."""
    project(database)
    pages: list[Any] = [{"next_after": 0}]
    while (after := pages[-1]["next_after"]) is not None:
        pages.append((await busy.get("/api/v1/audit/verify", params={"after": after, "limit": 2})).json())
    balance = (await busy.get("/api/v1/users/1/balance", params={"position": 4})).json()
    books = (await busy.get("/api/v1/audit/trial-balance")).json()

    report = await asyncio.to_thread(verify, database)
    at_4 = await asyncio.to_thread(read_balance, database, 1, position=4, at=None)
    summed_up = await asyncio.to_thread(sum_up, database)

    assert (report.ok, report.events) == (True, sum(page["events"] for page in pages[1:]))
    assert {(page["position"], page["digest"]) for page in pages[1:]} == {(report.position, report.digest)}
    assert pages[-1]["checked_digest"] == report.digest
    assert balance == msgspec.json.decode(ENCODER.encode(at_4))
    assert books == msgspec.json.decode(ENCODER.encode(summed_up))
    assert books["balanced"]


@pytest.mark.parametrize("query", ["events?after=-1", "events?limit=501", "verify?limit=0", "verify?limit=100001"])
async def test_an_audit_is_bounded(client: httpx.AsyncClient, query: str) -> None:
    """So that one request cannot hold up the others."""
    answer = await client.get(f"/api/v1/audit/{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
