"""Lists over all users, merged from four partitions: payments by cursor, dead letters by offset."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from api.app import create_app
from api.http.cursors import cursor_characters_max, write_cursor, write_merged_cursor
from api.queries.payments import PaymentFilter
from api.settings import Settings
from ledger.partition.identities import group_of
from ledger.partition.partition import Partitions
from projections.engine.projector import Projector
from tests.api.cli.shell import project
from tests.api.conftest import BASE_URL
from tests.api.partitions.conftest import without
from tests.support.databases import fresh_partitions
from tests.support.seeds import START, Seeds

pytestmark = pytest.mark.anyio

USERS: Final = (1, 2, 3, 4)
"""A user of each partition."""


async def pages(client: httpx.AsyncClient, path: str, **params: str | int) -> list[list[int]]:
    """Read a list to its end and return the ids of the payments of each page."""
    found: list[list[int]] = []
    cursor: str | None = None
    while not found or cursor is not None:
        more: dict[str, str | int] = {} if cursor is None else {"cursor": cursor}
        answer = await client.get(path, params={**params, **more})
        assert answer.status_code == 200, answer.text
        found.append([item["payment_id"] for item in answer.json()["items"]])
        cursor = answer.json()["next_cursor"]
    return found


def seed_in_turn(seeds: Sequence[Seeds], rounds: int) -> list[int]:
    """Write payments a second apart, one in each partition in turn, and return their ids, newest first."""
    ids = [1024 * number + user for number in range(rounds) for user in USERS]
    for second, payment_id in enumerate(ids):
        user = (payment_id - 1) % 1024 + 1
        state = "failed" if second % 3 == 0 else "succeeded"
        seeds[user - 1].payment(payment_id, account_id=user, state=state, at=START + timedelta(seconds=second))
    return ids[::-1]


async def test_payments_of_all_partitions_are_listed_newest_first(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """Page by page, each once, whichever partition has them; the list of a user is that of one partition."""
    ids = seed_in_turn(partition_seeds, 3)

    assert await pages(client, "/api/v1/payments", limit=5) == [ids[:5], ids[5:10], ids[10:]]
    assert await pages(client, "/api/v1/payments", limit=12) == [ids]
    assert await pages(client, "/api/v1/payments", user_id=2, limit=2) == [[2050, 1026], [2]]


async def test_an_empty_ledger_has_an_empty_list(client: httpx.AsyncClient) -> None:
    """It has one page."""
    assert await pages(client, "/api/v1/payments") == [[]]
    assert (await client.get("/api/v1/dlq")).json() == []


async def test_filtered_lists_look_at_a_limited_number_of_payments_in_each_partition(
    client: httpx.AsyncClient, partition_seeds: list[Seeds], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages may be short or empty; in the end all are there, newest first."""
    monkeypatch.setattr("api.queries.payments.SCANNED_MAX", 2)
    ids = seed_in_turn(partition_seeds, 9)
    failed = [payment_id for second, payment_id in enumerate(reversed(ids)) if second % 3 == 0][::-1]

    found = await pages(client, "/api/v1/payments", status="failed", limit=5)

    assert [payment_id for page in found for payment_id in page] == failed
    assert len(found) > len(failed) / 5 + 1


async def test_a_payment_that_comes_while_a_list_is_read_is_not_in_it(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """The list is that of its first page, in partitions that this page did not show too."""
    partition_seeds[0].payment(1, at=START)
    partition_seeds[0].payment(1025, at=START + timedelta(seconds=2))
    partition_seeds[1].payment(2, account_id=2, at=START)

    first = (await client.get("/api/v1/payments", params={"limit": 1})).json()
    partition_seeds[1].payment(1026, account_id=2, at=START + timedelta(seconds=3))
    partition_seeds[2].payment(3, account_id=3, at=START + timedelta(seconds=3))
    second = (await client.get("/api/v1/payments", params={"limit": 5, "cursor": first["next_cursor"]})).json()

    assert [item["payment_id"] for page in (first, second) for item in page["items"]] == [1025, 1, 2]
    assert second["next_cursor"] is None


async def test_a_cursor_of_another_list_or_ledger_is_refused(
    settings: Settings, client: httpx.AsyncClient, partitions: Partitions, postgres_url: str
) -> None:
    """A cursor of one partition, as from before the ledger was split, is refused too."""
    filters = PaymentFilter().as_filters()
    ledger_id = group_of(partitions)
    assert ledger_id is not None
    cursor = write_merged_cursor("payments", filters, [7, 7, 7, 7], ledger_id=ledger_id)
    before_split = write_cursor("payments", filters, 7, partition=0)

    async def refused(client: httpx.AsyncClient, cursor: str, **params: str) -> bool:
        answer = await client.get("/api/v1/payments", params={"cursor": cursor, **params})
        return answer.status_code == 422 and answer.json()["code"] == "cursor_invalid"

    with fresh_partitions(postgres_url, 4) as others:
        app = create_app(settings, others)
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as elsewhere:
            assert await refused(elsewhere, cursor)

    assert await refused(client, cursor, status="failed")
    assert await refused(client, before_split)
    assert await refused(client, cursor, user_id="1")
    assert await refused(client, cursor[:-1] + ("A" if cursor[-1] != "A" else "B"))
    assert not await refused(client, cursor)


@contextmanager
def projecting(partitions: Partitions) -> Iterator[None]:
    """Let a projector follow the log of each partition."""
    projectors = [Projector(partition.database) for partition in partitions]
    threads = [threading.Thread(target=projector.run) for projector in projectors]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for projector in projectors:
            projector.stop()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("partitions", [1, 2, 4], indirect=True)
async def test_a_list_is_complete_while_payments_go_on(client: httpx.AsyncClient, partitions: Partitions) -> None:
    """On real stores with real projectors: all that were there at the first page come once, newest first."""
    users = [(await client.post("/api/v1/users", json={"balance": 1000})).json()["id"] for _ in range(8)]

    async def pay(rounds: int) -> list[dict[str, Any]]:
        wanted = [{"type": "deposit", "user_id": user, "amount": 1} for _ in range(rounds) for user in users]
        return list((await client.post("/api/v1/payments/batch", json={"payments": wanted})).json()["results"])

    before = [payment for _ in range(5) for payment in await pay(2)]
    for partition in partitions:
        await asyncio.to_thread(project, partition.database)

    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    with projecting(partitions):
        while not listed or cursor is not None:
            params = {"limit": "9"} | ({} if cursor is None else {"cursor": cursor})
            page, _ = await asyncio.gather(client.get("/api/v1/payments", params=params), pay(1))
            listed += page.json()["items"]
            cursor = page.json()["next_cursor"]

    ids = [payment["payment_id"] for payment in listed]
    times = [payment["created_at"] for payment in listed]
    assert len(ids) == len({*ids})
    assert {payment["payment_id"] for payment in before} <= {*ids}
    assert times == sorted(times, reverse=True)


async def test_letters_of_all_partitions_are_listed_newest_first(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """Each with the partition whose position it has as its id; offsets count over all of them."""
    for n in range(8):
        at = START + timedelta(seconds=n)
        partition_seeds[n % 4].letter(1024 * (n // 4) + n % 4 + 1, position=5 + n // 4, at=at)

    whole = (await client.get("/api/v1/dlq")).json()
    parts = [(await client.get("/api/v1/dlq", params={"limit": 3, "offset": offset})).json() for offset in (0, 3, 6, 9)]

    assert [(letter["partition"], letter["id"]) for letter in whole] == [
        *((number, 6) for number in (3, 2, 1, 0)),
        *((number, 5) for number in (3, 2, 1, 0)),
    ]
    assert [letter for part in parts for letter in part] == whole


class TestOneIsAway:
    """The database of partition 2 is away."""

    @pytest.fixture
    def served(self, partitions: Partitions) -> Partitions:
        """Let the service look for partition 2 where there is none."""
        return without(partitions, 2)

    @pytest.mark.parametrize(
        "path",
        ["/api/v1/payments", "/api/v1/dlq", "/api/v1/metrics", "/api/v1/audit/trial-balance", "/api/v1/gateway"],
    )
    async def test_what_is_about_all_users_is_refused(
        self, client: httpx.AsyncClient, partition_seeds: list[Seeds], path: str
    ) -> None:
        """A list or a sum that lacks some of them would be wrong."""
        seed_in_turn(partition_seeds, 1)

        answer = await client.get(path)

        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"

    async def test_a_user_elsewhere_is_served(self, client: httpx.AsyncClient, partition_seeds: list[Seeds]) -> None:
        """Only requests about a user of the partition are refused."""
        seed_in_turn(partition_seeds, 1)

        paths = [f"/api/v1/payments{tail}" for user in USERS for tail in (f"?user_id={user}", f"/{user}")]
        answers = await asyncio.gather(*(client.get(path) for path in paths))

        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 503, 503, 200, 200]


@pytest.mark.parametrize("partitions", [1, 2, 32], indirect=True)
async def test_a_cursor_may_be_as_long_as_the_partitions_need(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """The bound is in the documentation and holds for requests."""
    count = len(partition_seeds)
    for number in range(count):
        partition_seeds[number].payment(number + 1, account_id=number + 1, at=START + timedelta(seconds=number))

    found = await pages(client, "/api/v1/payments", limit=7)
    too_long = await client.get("/api/v1/payments", params={"cursor": "a" * (cursor_characters_max(count) + 1)})
    document = (await client.get("/docs/openapi.json")).json()

    parameters = {each["name"]: each for each in document["paths"]["/api/v1/payments"]["get"]["parameters"]}
    assert [payment_id for page in found for payment_id in page] == list(range(count, 0, -1))
    assert too_long.json()["errors"] == [
        {"path": "cursor", "message": f"must have at most {cursor_characters_max(count)} characters"}
    ]
    assert parameters["cursor"]["schema"]["maxLength"] == cursor_characters_max(count)
