"""Reads of a user of whom a stream is set aside are refused, and operators are told; all others are answered."""

import asyncio

import httpx
import pytest

from api.operator.status import read_status
from api.settings import Settings
from ledger.store.database import Database
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio


@pytest.fixture
def seeded(seeds: Seeds) -> Seeds:
    """Seed two users with a payment each, and set a stream of the first aside."""
    for account_id in (1, 2):
        seeds.account(account_id, posted_minor=20_000)
        seeds.payment(account_id, account_id=account_id)
    seeds.set_aside("payment-1", account_id=1)
    return seeds


READS = (
    "users/{0}",
    "users/{0}/transactions",
    "users/{0}/transactions?status=success",
    "users/{0}/transactions?status=failed",
    "users/{0}/statement",
    "payments/{0}",
    "payments?user_id={0}",
    "payments?user_id={0}&status=failed",
)


@pytest.mark.parametrize("path", READS)
@pytest.mark.usefixtures("seeded")
async def test_reads_of_the_user_are_refused(client: httpx.AsyncClient, path: str) -> None:
    """An answer from the read models would be wrong, and would not show it. No program is told to try again."""
    answer = await client.get(f"/api/v1/{path.format(1)}")

    assert (answer.status_code, answer.json()["code"]) == (503, "stream_set_aside")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("path", READS)
@pytest.mark.usefixtures("seeded")
async def test_reads_of_other_users_are_answered(client: httpx.AsyncClient, path: str) -> None:
    """One user's impossible event is not theirs."""
    answer = await client.get(f"/api/v1/{path.format(2)}")

    assert answer.status_code == 200


@pytest.mark.parametrize("path", READS)
async def test_a_stream_that_only_the_counters_have_set_aside_can_be_read(
    client: httpx.AsyncClient, seeds: Seeds, path: str
) -> None:
    """These reads show nothing of the counters."""
    seeds.account(1, posted_minor=20_000)
    seeds.payment(1, account_id=1)
    seeds.set_aside("payment-1", account_id=1, name="counters")

    answer = await client.get(f"/api/v1/{path.format(1)}")

    assert answer.status_code == 200


async def test_reads_of_what_was_set_aside_at_its_first_event_are_refused(
    client: httpx.AsyncClient, seeds: Seeds
) -> None:
    """Such a user is in no read model; the fallback to the events would show the opening for ever."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    seeds.set_aside("account-1", account_id=1)

    refused = [await client.get(f"/api/v1/{path}") for path in ("users/1", "payments/1", "users/1/transactions")]
    balance = await client.get("/api/v1/users/1/balance")

    assert [answer.status_code for answer in refused] == [503] * 3
    assert (balance.status_code, balance.json()["balance"]) == (200, 100)


@pytest.mark.usefixtures("seeded")
async def test_the_trial_balance_says_that_a_stream_is_missing(client: httpx.AsyncClient) -> None:
    """Its sums lack the money of the stream, whatever they add up to."""
    trial_balance = (await client.get("/api/v1/audit/trial-balance")).json()

    assert (trial_balance["balanced"], trial_balance["set_aside"]) == (False, ["payment-1"])


@pytest.mark.usefixtures("seeded")
async def test_health_and_status_name_a_stream_that_is_set_aside(client: httpx.AsyncClient, database: Database) -> None:
    """With the position and the reason."""
    health = (await client.get("/api/v1/health")).json()
    status = await asyncio.to_thread(read_status, database, Settings.load({}))

    (counters, read_models) = health["read_models"]
    assert health["status"] == "degraded"
    assert counters["set_aside"] == []
    assert read_models["set_aside"] == [{"stream": "payment-1", "position": 7, "because": "CheckViolation: poison"}]
    assert "payment-1 is set aside at position 7: CheckViolation: poison" in status.wrong


async def test_health_and_status_name_a_model_that_was_never_filled(
    client: httpx.AsyncClient, seeds: Seeds, database: Database
) -> None:
    """It is empty, and a rebuild fills it."""
    seeds.not_filled("dead_letter")

    health = (await client.get("/api/v1/health")).json()
    status = await asyncio.to_thread(read_status, database, Settings.load({}))

    assert health["status"] == "degraded"
    assert [model["not_filled"] for model in health["read_models"]] == [[], ["dead_letter"]]
    what = "dead_letter was never filled from the log; `payment-ledger rebuild` fills it"
    assert what in status.wrong
