"""Keys in memory: they end within 5 seconds in every process, two secrets live during a rotation, and use is noted."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import anyio
import httpx
import pytest

import api.auth.key_ring
from api.app import create_app
from api.auth.key_store import list_keys, revoke_key, rotate_key
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.auth.conftest import Keys, bearer
from tests.support.databases import execute
from tests.support.proxies import proxy_before

pytestmark = pytest.mark.anyio

USER = "/api/v1/users/1"
WITHIN_SECONDS = 30.0


@asynccontextmanager
async def clients(settings: Settings, database: Database, *, count: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Run several applications on one ledger, as several processes are, with a client for each."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            app = create_app(settings, Partitions.whole(database))
            await stack.enter_async_context(app.lifespan())
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
            found.append(await stack.enter_async_context(client))
        yield found


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    with anyio.fail_after(WITHIN_SECONDS):
        for pause in itertools.repeat(0.05):
            if await holds():
                return
            await anyio.sleep(pause)


async def all_are(expected: int, processes: list[httpx.AsyncClient], text: str) -> bool:
    """Tell whether every process answers a request with the key with a status."""
    return [await status(client, text) for client in processes] == [expected] * len(processes)


async def status(client: httpx.AsyncClient, text: str) -> int:
    return (await client.get(USER, headers=bearer(text))).status_code


async def test_a_revocation_takes_effect_within_5_seconds_in_every_process(
    settings: Settings, database: Database, keys: Keys
) -> None:
    """The revocation goes past all of them, straight to the store."""
    async with clients(settings, database, count=3) as processes:
        text = keys.text()
        assert [await status(client, text) for client in processes] == [200, 200, 200]

        revoked_at = time.monotonic()
        revoke_key(database, text[3:19])
        await until(lambda: all_are(401, processes, text))

        assert time.monotonic() - revoked_at < 5


async def test_a_new_key_is_taken_at_once_in_every_process(settings: Settings, database: Database, keys: Keys) -> None:
    """A request with a key that is not known has the keys read again."""
    async with clients(settings, database, count=2) as processes:
        for _ in range(5):
            text = keys.text()

            assert [await status(client, text) for client in processes] == [200, 200]


async def test_two_secrets_live_during_a_rotation(client: httpx.AsyncClient, database: Database, keys: Keys) -> None:
    """After the next rotation the first one is taken no longer; the id stays the same."""
    first = keys.text()
    second = rotate_key(database, first[3:19], keep=timedelta(hours=1)).text
    assert [await status(client, text) for text in (second, first)] == [200, 200]

    third = rotate_key(database, first[3:19], keep=timedelta(hours=1)).text

    assert [await status(client, text) for text in (third, second, first)] == [200, 200, 401]
    assert first[:19] == second[:19] == third[:19]


async def test_the_former_secret_ends_after_its_time(client: httpx.AsyncClient, database: Database, keys: Keys) -> None:
    """The end needs no further read of the keys."""
    first = keys.text()
    second = rotate_key(database, first[3:19], keep=timedelta(seconds=0.5)).text
    assert await status(client, second) == 200
    await anyio.sleep(0.6)

    assert [await status(client, text) for text in (second, first)] == [200, 401]


async def test_an_expired_key_is_denied(client: httpx.AsyncClient, keys: Keys) -> None:
    """It ends in memory too, before the keys are read again."""
    text = keys.text(lifetime=timedelta(seconds=1))
    assert await status(client, text) == 200
    await anyio.sleep(1.1)

    assert await status(client, text) == 401


async def test_no_key_is_taken_while_the_keys_cannot_be_read(
    settings: Settings, database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation could not be seen, so the answer is 503, and 200 again afterwards."""
    monkeypatch.setattr(api.auth.key_ring, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(api.auth.key_ring, "REFRESH_SECONDS", 0.1)
    text = keys.text()
    with proxy_before(database.url) as proxy:
        away = Database(proxy.url, database.schema)
        async with clients(settings, away, count=1) as (client,):
            assert await status(client, text) == 200
            proxy.refusing = True
            proxy.lose_all()
            await until(lambda: all_are(503, [client], text))
            answer = await client.get("/api/v1/keys", headers=bearer(text))
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            proxy.refusing = False
            await until(lambda: all_are(200, [client], text))


async def test_the_use_of_a_key_is_noted_and_not_at_each_request(
    settings: Settings, database: Database, keys: Keys
) -> None:
    """A hundred requests change the row once, at the latest when the process ends."""
    text = keys.text()
    rows = f"SELECT xmin::text, last_used_at FROM api_key WHERE id = '{text[3:19]}'"
    before = execute(database, rows)
    async with clients(settings, database, count=1) as (client,):
        for _ in range(100):
            assert await status(client, text) == 200
        assert execute(database, rows) == before

    ((_, used_at),) = execute(database, rows)
    assert used_at is not None
    assert used_at == next(key.last_used_at for key in list_keys(database) if key.key_id == text[3:19])


async def test_the_use_of_a_key_is_noted_once_a_minute(
    settings: Settings, database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is a shorter minute; the process goes on."""
    monkeypatch.setattr(api.auth.key_ring, "USE_SECONDS", 0.2)
    monkeypatch.setattr(api.auth.key_ring, "REFRESH_SECONDS", 0.1)
    text = keys.text()
    used = f"SELECT last_used_at IS NOT NULL FROM api_key WHERE id = '{text[3:19]}'"
    async with clients(settings, database, count=1) as (client,):
        assert await status(client, text) == 200
        await until(lambda: asyncio.to_thread(lambda: execute(database, used) == [(True,)]))


async def test_a_key_counts_where_none_is_needed(database: Database, keys: Keys) -> None:
    """On a loopback address a request may come without a key; one that comes with a key is held to it."""
    settings = Settings.load({})
    async with clients(settings, database, count=1) as (client,):
        narrow = keys.text("audit")

        assert (await client.get(USER)).status_code == 200
        assert (await client.get(USER, headers={"Authorization": "Basic eA=="})).status_code == 200
        assert [await status(client, text) for text in (keys.text(), narrow, narrow[:-1] + "x")] == [200, 403, 401]


async def test_no_key_is_looked_at_when_keys_are_off(database: Database) -> None:
    """Something else decides who may call, and may have keys of its own."""
    async with clients(Settings.load({"AUTH": "off", "HOST": "0.0.0.0"}), database, count=1) as (client,):  # noqa: S104
        assert await status(client, f"pl_{'0' * 16}_{'0' * 48}") == 200
