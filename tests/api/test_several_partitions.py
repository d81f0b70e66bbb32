"""A service over several partitions: each request reaches the store of its user, also while another one is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace as replace_settings

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from api.app import create_app
from api.settings import Settings
from ledger.audit.verify import verify_store
from ledger.partition.partition import Partitions, partition_of_key
from tests.api.conftest import BASE_URL
from tests.support.databases import execute, fresh_partitions
from tests.support.proxies import PostgresProxy, proxy_before

pytestmark = pytest.mark.anyio

DEPOSIT = "/api/v1/payments/deposit"
BATCH = "/api/v1/payments/batch"


@asynccontextmanager
async def serving(settings: Settings, partitions: Partitions) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application over partitions, and give a client of it."""
    app = create_app(settings, partitions)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.fixture(params=[2, 4])
def partitions(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[Partitions]:
    """Yield an empty ledger with several partitions."""
    with fresh_partitions(postgres_url, request.param) as partitions:
        yield partitions


@pytest.fixture
async def client(settings: Settings, partitions: Partitions) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service over them."""
    async with serving(settings, partitions) as client:
        yield client


async def opened(client: httpx.AsyncClient, *, key: str | None = None) -> int:
    """Open a user with a thousand, and return the id."""
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post("/api/v1/users", json={"balance": 1000}, headers=headers)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def test_users_are_opened_in_each_partition_in_turn(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """Each has a number that leads back to its own store."""
    users = [await opened(client) for _ in range(2 * len(partitions))]

    assert sorted(users) == list(range(1, 2 * len(partitions) + 1))
    for partition in partitions:
        accounts = execute(partition.database, "SELECT count(*) FROM events WHERE topic = 'account.opened'")
        assert accounts == [(2,)]
    for user in users:
        assert (await client.get(f"/api/v1/users/{user}")).json()["balance"] == 1000


async def test_a_key_opens_one_user_however_often_it_comes(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """Also at the same time; keys are spread over the partitions."""
    keys = [f"order-{n}" for n in range(12)]

    first = await asyncio.gather(*(opened(client, key=key) for key in keys for _ in range(3)))
    again = [await opened(client, key=key) for key in keys]

    assert [{*first[3 * n : 3 * n + 3]} for n in range(12)] == [{user} for user in again]
    assert len({*again}) == 12
    assert len({partitions.of(user).number for user in again}) > 1


async def test_a_payment_is_in_the_store_of_its_user(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """Its id leads there too."""
    for user in [await opened(client) for _ in range(len(partitions))]:
        answer = await client.post(DEPOSIT, json={"user_id": user, "deposit": 5})
        payment = int(answer.json()["payment_id"])

        assert partitions.of(payment) == partitions.of(user)
        assert (await client.get(f"/api/v1/payments/{payment}")).json()["user_id"] == user
        events = (await client.get(f"/api/v1/payments/{payment}/events")).json()["items"]
        assert {event["partition"] for event in events} == {partitions.of(user).number}


async def test_a_batch_is_divided_and_answered_in_its_order(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """Refusals among them, and the order of each user's payments, are as in one store."""
    users = [await opened(client) for _ in range(4)]
    wanted = [{"type": "withdraw", "user_id": user, "amount": 600} for user in users for _ in range(2)]
    wanted[3:3] = [{"type": "deposit", "user_id": 9999, "amount": 1}, {"type": "deposit", "user_id": users[0]}]

    results = (await client.post(BATCH, json={"payments": wanted})).json()["results"]

    assert [each.get("code", each.get("user_id")) for each in results] == [
        users[0],
        "insufficient_funds",
        users[1],
        "user_not_found",
        "request_invalid",
        "insufficient_funds",
        users[2],
        "insufficient_funds",
        users[3],
        "insufficient_funds",
    ]
    assert [verify_store(partition.database).errors for partition in partitions] == [[]] * len(partitions)


async def test_a_pause_holds_the_gateway_in_every_partition(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """Each log has who paused it; resuming undoes it everywhere."""
    why = {"why": "Their maintenance", "by": "Ada"}

    paused = await client.post("/api/v1/gateway/pause", json=why)
    held = [execute(each.database, "SELECT paused_why, paused_by FROM gateway_state") for each in partitions]
    seen = (await client.get("/api/v1/gateway")).json()["state"]
    resumed = await client.post("/api/v1/gateway/resume", json=why)

    assert (paused.json()["state"], seen, resumed.json()["state"]) == ("paused", "paused", "closed")
    assert held == [[("Their maintenance", "Ada")]] * len(partitions)


async def test_one_paused_partition_is_told(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """The answer is about one in which the gateway is called least."""
    last = [*partitions][-1]
    execute(last.database, "UPDATE gateway_state SET paused_at = now(), paused_why = 'x'", owner=True)

    assert (await client.get("/api/v1/gateway")).json()["state"] == "paused"


async def test_what_needs_one_partition_is_refused(settings: Settings, partitions: Partitions) -> None:
    """Lists of many letters, and decisions that a second key has to approve."""
    async with serving(replace_settings(settings, operate_four_eyes=True), partitions) as client:
        user = await opened(client)
        payment = (await client.post(DEPOSIT, json={"user_id": user, "deposit": 5})).json()["payment_id"]
        forced = {"outcome": "failed", "why": "x", "by": "Ada", "force": True}

        answers = [
            await client.get("/api/v1/approvals"),
            await client.post("/api/v1/dlq/bulk/plan", json={"action": "requeue"}),
            await client.post(f"/api/v1/dlq/{payment}/resolve", json=forced),
        ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(501, "not_over_partitions")] * 3


@given(st.text(max_size=20), st.text(min_size=1, max_size=40), st.sampled_from([1, 2, 4, 1024]))
def test_a_key_has_one_partition(scope: str, key: str, count: int) -> None:
    """It is the same in every process, for it follows from the key."""
    number = partition_of_key(scope, key, count=count)

    assert 0 <= number < count
    assert number == partition_of_key(scope, key, count=count)


def test_keys_are_spread_evenly() -> None:
    """No partition gets most of the users."""
    counts = [0] * 4
    for n in range(4_000):
        counts[partition_of_key("caller-", f"order-{n}", count=4)] += 1

    assert min(counts) > 800


class TestOneIsAway:
    """The second of two partitions cannot be reached: its users get 503, and all others are served."""

    @pytest.fixture
    async def away(self, settings: Settings, postgres_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, list[int]]]:
        """Yield a client, and one user of each partition, the second of which has been lost."""
        with fresh_partitions(postgres_url, 2) as reached, proxy_before(postgres_url) as proxy:
            one, other = reached
            through = replace(other, database=replace(other.database, url=proxy.url))
            async with serving(settings, Partitions([one, through])) as client:
                users = sorted([await opened(client), await opened(client)])
                lose(proxy)
                yield client, users

    async def test_its_users_get_503_and_others_are_served(self, away: tuple[httpx.AsyncClient, list[int]]) -> None:
        """Reads and payments alike."""
        client, (here, there) = away

        asked = await asyncio.gather(
            *(client.post(DEPOSIT, json={"user_id": user, "deposit": 5}) for user in (here, there)),
            *(client.get(f"/api/v1/users/{user}") for user in (here, there)),
        )

        assert [answer.status_code for answer in asked] == [202, 503, 200, 503]

    async def test_a_batch_is_served_in_part(self, away: tuple[httpx.AsyncClient, list[int]]) -> None:
        """The payments of the other users are accepted; a batch of its own users alone is 503."""
        client, users = away
        mixed = [{"type": "deposit", "user_id": user, "amount": 5} for user in users]

        served = await client.post(BATCH, json={"payments": mixed})
        refused = await client.post(BATCH, json={"payments": mixed[1:]})

        accepted, unserved = served.json()["results"]
        assert (served.status_code, accepted["user_id"], unserved["code"]) == (200, users[0], "database_unavailable")
        assert refused.status_code == 503

    async def test_users_are_opened_in_the_other(self, away: tuple[httpx.AsyncClient, list[int]]) -> None:
        """Once the service has seen that it is away."""
        client, (_, there) = away
        await client.post(DEPOSIT, json={"user_id": there, "deposit": 5})

        users = [await opened(client) for _ in range(4)]

        assert {user % 2 for user in users} == {1}


def lose(proxy: PostgresProxy) -> None:
    """Cut all connections, and accept no others."""
    proxy.refusing = True
    proxy.lose_all()
