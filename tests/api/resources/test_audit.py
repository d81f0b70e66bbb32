"""The audit over HTTP: the log in order, its seals verified page by page, and the trial balance."""

import asyncio
from contextlib import closing
from typing import Any, Final

import httpx
import msgspec
import pytest

from api.operator.verification import read_balance, sum_up, verify
from ledger.partition.partition import Partition
from ledger.store.database import Database
from tests.api.cli.shell import project
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@pytest.fixture
async def busy(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Return a client of a ledger with five events."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"X-Request-ID": "first"})
    for _ in range(2):
        await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 10})
    return client


async def test_the_log_is_listed_in_order_with_seals(busy: httpx.AsyncClient) -> None:
    """The pages contain each event once."""
    first = (await busy.get("/api/v1/audit/events", params={"limit": 3})).json()
    second = (await busy.get("/api/v1/audit/events", params={"limit": 3, "after": first["next_after"]})).json()

    items = first["items"] + second["items"]
    assert [item["position"] for item in items] == [1, 2, 3, 4, 5]
    assert [item["topic"] for item in items[:3]] == ["account.opened", "payment.requested", "account.funds_held"]
    assert items[0]["command_id"] == "first"
    assert len({item["seal"] for item in items}) == 5
    assert (first["position"], second["next_after"]) == (5, None)


async def test_a_page_at_the_logs_end_is_empty(busy: httpx.AsyncClient) -> None:
    """The page is empty, and has no next one."""
    page = (await busy.get("/api/v1/audit/events", params={"after": 5})).json()

    assert page == {"items": [], "partition": 0, "position": 5, "next_after": None}


async def test_a_page_after_the_logs_end_is_refused(busy: httpx.AsyncClient) -> None:
    """Its reader has seen positions that the log does not have, and would miss the events that come there."""
    answer = await busy.get("/api/v1/audit/events", params={"after": 6})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"path": "after", "message": "the log has no such position, it ends at 5"},
    ]


async def test_seals_after_the_logs_end_are_not_verified(busy: httpx.AsyncClient) -> None:
    """The last position itself is there, and nothing after it is."""
    at_end = (await busy.get("/api/v1/audit/verify", params={"after": 5})).json()
    beyond = (await busy.get("/api/v1/audit/verify", params={"after": 6})).json()

    assert (at_end["ok"], at_end["events"]) == (True, 0)
    assert (beyond["ok"], beyond["events"], beyond["next_after"]) == (False, 0, None)
    assert beyond["errors"] == [{"position": 6, "what": "the log has no such position, it ends at 5"}]


async def test_seals_are_verified_page_by_page(busy: httpx.AsyncClient) -> None:
    """The last seal equals the digest in the head."""
    first = (await busy.get("/api/v1/audit/verify", params={"limit": 3})).json()
    second = (await busy.get("/api/v1/audit/verify", params={"after": first["next_after"]})).json()

    assert (first["ok"], first["events"], first["checked_to"]) == (True, 3, 3)
    assert (second["ok"], second["events"], second["next_after"]) == (True, 2, None)
    assert second["checked_digest"] == second["digest"]


async def test_a_changed_event_is_found(busy: httpx.AsyncClient, database: Database) -> None:
    """The finding has its position."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE events SET state = state || ' ' WHERE notification_id = 4")

    verified = (await busy.get("/api/v1/audit/verify")).json()

    assert not verified["ok"]
    assert [error["position"] for error in verified["errors"]] == [4]


async def test_a_changed_head_is_found(busy: httpx.AsyncClient, database: Database) -> None:
    """The page that reaches the log's end reports it."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE log_head SET digest = decode(repeat('00', 32), 'hex')")

    first = (await busy.get("/api/v1/audit/verify", params={"limit": 3})).json()
    last = (await busy.get("/api/v1/audit/verify", params={"after": 3})).json()

    assert first["ok"]
    assert [error["position"] for error in last["errors"]] == [5]


async def test_the_trial_balance_is_balanced(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Each currency is balanced by itself. Debits are positive, credits negative."""
    seeds.account(posted_minor=120_000)
    seeds.opening(1, 100_000)
    seeds.settled(5, 20_000, 120_000)

    trial_balance = (await client.get("/api/v1/audit/trial-balance")).json()

    assert trial_balance == {
        "balanced": True,
        "position": 5,
        "set_aside": [],
        "currencies": [
            {
                "currency": "USD",
                "entries": 2,
                "customers": -1200,
                "gateway_clearing": 200,
                "gateways": {"default": 200},
                "fee_revenue": 0,
                "opening_equity": 1000,
                "suspense": 0,
                "transit": 0,
                "sum": 0,
                "accounts": 1200,
            }
        ],
    }


async def test_a_journal_that_differs_from_the_accounts_is_not_balanced(
    client: httpx.AsyncClient, seeds: Seeds
) -> None:
    """The journal is unbalanced although its postings sum up to zero."""
    seeds.account(posted_minor=99_999)
    seeds.opening(1, 100_000)

    trial_balance = (await client.get("/api/v1/audit/trial-balance")).json()

    assert trial_balance["balanced"] is False
    assert (trial_balance["currencies"][0]["sum"], trial_balance["currencies"][0]["accounts"]) == (0, 999.99)


async def test_the_audit_is_the_same_from_the_command_line(busy: httpx.AsyncClient, database: Database) -> None:
    """Seals, balance and trial balance are the same page by page and at once."""
    project(database)
    pages: list[Any] = [{"next_after": 0}]
    while (after := pages[-1]["next_after"]) is not None:
        pages.append((await busy.get("/api/v1/audit/verify", params={"after": after, "limit": 2})).json())
    balance = (await busy.get("/api/v1/users/1/balance", params={"position": 4})).json()
    trial_balance = (await busy.get("/api/v1/audit/trial-balance")).json()

    report = await asyncio.to_thread(verify, database)
    at_4 = await asyncio.to_thread(read_balance, Partition(database), 1, position=4, at=None)
    summed_up = await asyncio.to_thread(sum_up, database)

    assert (report.ok, report.events) == (True, sum(page["events"] for page in pages[1:]))
    assert {(page["position"], page["digest"]) for page in pages[1:]} == {(report.position, report.digest)}
    assert pages[-1]["checked_digest"] == report.digest
    assert balance == msgspec.json.decode(ENCODER.encode(at_4))
    assert trial_balance == msgspec.json.decode(ENCODER.encode(summed_up))
    assert trial_balance["balanced"]


@pytest.mark.parametrize("query", ["events?after=-1", "events?limit=501", "verify?limit=0", "verify?limit=100001"])
async def test_an_audit_is_bounded(client: httpx.AsyncClient, query: str) -> None:
    """One request must not delay the others."""
    answer = await client.get(f"/api/v1/audit/{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
