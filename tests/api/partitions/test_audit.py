"""The audit over four partitions: each has a log of its own, and the books are added up."""

import asyncio

import httpx
import pytest

from ledger.partition.partition import Partitions
from tests.api.cli.shell import project
from tests.support.databases import execute
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio


@pytest.fixture
async def busy(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Return a client of a ledger with a user in each partition, each with as many payments as its number says."""
    for user in sorted([(await client.post("/api/v1/users", json={"balance": 100})).json()["id"] for _ in range(4)]):
        for _ in range(user):
            await client.post("/api/v1/payments/withdraw", json={"user_id": user, "amount": 10})
    return client


async def test_each_partition_has_a_log_of_its_own(busy: httpx.AsyncClient) -> None:
    """Page by page by its positions, each event beside the number of its partition."""
    for number in range(4):
        first = (await busy.get("/api/v1/audit/events", params={"partition": number, "limit": 2})).json()
        rest = (await busy.get("/api/v1/audit/events", params={"partition": number, "after": 2})).json()

        events = first["items"] + rest["items"]
        assert [event["position"] for event in events] == list(range(1, 2 * (number + 1) + 2))
        assert {event["partition"] for event in events} == {first["partition"], rest["partition"]} == {number}
        assert {event["stream"] for event in events if event["stream"].startswith("account")} == {
            f"account-{number + 1}"
        }
        assert (first["next_after"], rest["next_after"]) == (2, None)


async def test_seals_are_verified_partition_by_partition(busy: httpx.AsyncClient, partitions: Partitions) -> None:
    """A changed event is found in its partition and in no other."""
    execute(partitions.of(3).database, "UPDATE events SET state = state || ' ' WHERE notification_id = 4", owner=True)

    pages = [(await busy.get("/api/v1/audit/verify", params={"partition": number})).json() for number in range(4)]

    assert [page["partition"] for page in pages] == [0, 1, 2, 3]
    assert [page["ok"] for page in pages] == [True, True, False, True]
    assert [error["position"] for error in pages[2]["errors"]] == [4]


@pytest.mark.parametrize("route", ["events", "verify"])
async def test_the_partition_must_be_named(client: httpx.AsyncClient, route: str) -> None:
    """The first log alone would look like the whole ledger."""
    missing = await client.get(f"/api/v1/audit/{route}")
    unknown = await client.get(f"/api/v1/audit/{route}", params={"partition": 4})
    negative = await client.get(f"/api/v1/audit/{route}", params={"partition": -1})

    assert [answer.status_code for answer in (missing, unknown, negative)] == [422, 422, 422]
    assert [answer.json()["errors"][0] for answer in (missing, unknown, negative)] == [
        {"path": "partition", "message": "is needed, because each partition has a log: 0 to 3"},
        {"path": "partition", "message": "must be at most 3"},
        {"path": "partition", "message": "must be at least 0"},
    ]


@pytest.mark.parametrize("partitions", [1], indirect=True)
async def test_the_only_partition_may_be_named(client: httpx.AsyncClient) -> None:
    """It need not be."""
    await client.post("/api/v1/users", json={"balance": 100})

    unnamed = await client.get("/api/v1/audit/events")
    named = await client.get("/api/v1/audit/events", params={"partition": 0})
    another = await client.get("/api/v1/audit/events", params={"partition": 1})

    assert unnamed.content == named.content
    assert another.json()["errors"] == [{"path": "partition", "message": "must be at most 0"}]


async def test_the_trial_balance_adds_up_the_books(busy: httpx.AsyncClient, partitions: Partitions) -> None:
    """With the position of each journal, and money that is on its way in none."""
    for partition in partitions:
        await asyncio.to_thread(project, partition.database)

    books = (await busy.get("/api/v1/audit/trial-balance")).json()

    (dollars,) = books["currencies"]
    assert (books["balanced"], books["position"], books["set_aside"]) == (True, None, [])
    assert (dollars["entries"], dollars["opening_equity"], dollars["customers"], dollars["accounts"]) == (
        4,
        400,
        -400,
        400,
    )
    assert books["partitions"] == [{"partition": n, "balanced": True, "position": 1} for n in range(4)]


async def test_gateways_and_currencies_are_added_up_by_name(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """Also one that only some partitions have."""
    partition_seeds[0].opening(1, 1_000)
    partition_seeds[0].settled(2, 200, 1_200)
    partition_seeds[0].account(posted_minor=1_200)
    partition_seeds[3].settled(7, 500, 500, account_id=4)
    partition_seeds[3].account(4, posted_minor=500)
    partition_seeds[2].account(3, posted_minor=0, currency="EUR")

    books = (await client.get("/api/v1/audit/trial-balance")).json()

    euros, dollars = books["currencies"]
    assert (euros["currency"], dollars["currency"], books["balanced"]) == ("EUR", "USD", True)
    assert (dollars["entries"], dollars["gateways"], dollars["accounts"]) == (3, {"default": 7}, 17)
    assert [one["position"] for one in books["partitions"]] == [2, 0, 0, 7]


async def test_faults_of_two_partitions_do_not_make_up_for_each_other(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """A cent too much here and too little there is not balanced."""
    for number, posted_minor in ((0, 1_001), (1, 999)):
        partition_seeds[number].opening(1, 1_000, account_id=number + 1)
        partition_seeds[number].account(number + 1, posted_minor=posted_minor)

    books = (await client.get("/api/v1/audit/trial-balance")).json()

    (dollars,) = books["currencies"]
    assert (dollars["customers"], dollars["accounts"], dollars["sum"]) == (-20, 20, 0)
    assert books["balanced"] is False
    assert [one["balanced"] for one in books["partitions"]] == [False, False, True, True]


async def test_a_stream_that_is_set_aside_is_named(client: httpx.AsyncClient, partition_seeds: list[Seeds]) -> None:
    """Its partition's books are not balanced."""
    partition_seeds[1].set_aside("account-2", account_id=2)

    books = (await client.get("/api/v1/audit/trial-balance")).json()

    assert (books["balanced"], books["set_aside"]) == (False, ["account-2"])
    assert [one["balanced"] for one in books["partitions"]] == [True, False, True, True]


async def test_the_gateway_is_as_in_the_partition_that_is_farthest_from_calling_it(
    client: httpx.AsyncClient, partitions: Partitions
) -> None:
    """With the state in each."""
    execute(
        partitions.of(2).database,
        "UPDATE gateway_state SET opened_at = now(), opened_why = 'it was away', probe_at = now()",
    )
    opened = (await client.get("/api/v1/gateway")).json()
    execute(
        partitions.of(4).database,
        "UPDATE gateway_state SET paused_at = now(), paused_why = 'maintenance', paused_by = 'Ada'",
    )

    paused = (await client.get("/api/v1/gateway")).json()

    assert (opened["state"], opened["partitions"]) == ("open", ["closed", "open", "closed", "closed"])
    assert (paused["state"], paused["partitions"]) == ("paused", ["closed", "open", "closed", "paused"])
    assert (paused["paused"]["by"], paused["open"]) == ("Ada", None)
