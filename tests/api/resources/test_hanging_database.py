"""A database that hangs or cannot be written: reads and commands are refused in time, and readiness says so."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from psycopg import sql

from api.app import create_app
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.conftest import BASE_URL
from tests.support.databases import execute, fresh_ledger, suspended
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

PROMISED_SECONDS = 5.0
TICKS_SECONDS = 1.5
"""The watchdog looks every quarter of a second, and a busy machine takes its time."""


@pytest.fixture(autouse=True)
def patient() -> None:
    """Leave the deadlines as they are: these tests are about them."""


@pytest.fixture
async def own(tmp_path: Path, settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, psutil.Process]]:
    """Yield a client of a service with a Postgres of its own, and that server."""
    with EmbeddedPostgres(tmp_path, create=True) as url, fresh_ledger(url) as database:
        app = create_app(settings, Partitions.whole(database))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            server = int((tmp_path / "postgres/cluster/postmaster.pid").read_text("utf-8").split()[0])
            yield client, psutil.Process(server)


PATHS = (
    "/api/v1/payments/1",
    "/api/v1/payments/1/events",
    "/api/v1/users/1",
    "/api/v1/users/1/statement",
    "/api/v1/payments",
    "/api/v1/dlq",
)


async def test_requests_to_a_database_that_hangs_are_refused_in_time(
    own: tuple[httpx.AsyncClient, psutil.Process],
) -> None:
    """Its kernel goes on acknowledging packets, and a cancelled read would wait for the server too."""
    client, server = own

    async def ask(path: str, body: object = None) -> tuple[str, int, str]:
        started = time.monotonic()
        answer = await (client.get(path) if body is None else client.post(path, json=body))
        late = time.monotonic() - started > PROMISED_SECONDS + TICKS_SECONDS
        return path, answer.status_code, "late" if late else answer.json()["code"]

    await client.post("/api/v1/users", json={"balance": 1000})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    before = [(await client.get(path)).status_code for path in PATHS]
    with suspended(server.pid, *(child.pid for child in server.children())):
        refused = await asyncio.gather(
            *(ask(path) for path in PATHS),
            ask("/readyz"),
            ask("/api/v1/payments/deposit", {"user_id": 1, "deposit": 1}),
            ask("/api/v1/payments/batch", {"payments": [{"type": "deposit", "user_id": 1, "amount": 1}] * 1_000}),
        )
    after = [(await client.get(path)).status_code for path in PATHS]

    assert before == after == [200] * len(PATHS)
    asked = [*PATHS, "/readyz", "/api/v1/payments/deposit", "/api/v1/payments/batch"]
    assert refused == [(path, 503, "database_unavailable") for path in asked]


async def test_a_batch_with_an_item_that_has_an_answer_of_its_own_is_answered_item_by_item(
    client: httpx.AsyncClient, database: Database
) -> None:
    """One item is wrong whatever the database does; the batch is 503 only when no item could be served."""
    role = sql.Identifier(database.service_role).as_string()
    await client.post("/api/v1/users", json={"balance": 1000})
    good, wrong = ({"type": "deposit", "user_id": 1, "amount": amount} for amount in (1, "much"))
    execute(database, f"REVOKE INSERT ON events FROM {role}", owner=True)

    mixed, whole = await asyncio.gather(
        *(client.post("/api/v1/payments/batch", json={"payments": items}) for items in ([good, wrong], [good, good]))
    )

    codes = [result["code"] for result in mixed.json()["results"]]
    assert (mixed.status_code, codes) == (200, ["database_unavailable", "amount_invalid"])
    assert (whole.status_code, whole.json()["code"]) == (503, "database_unavailable")
    assert whole.headers["retry-after"] == "1"


async def test_a_service_is_not_ready_while_it_cannot_write(
    client: httpx.AsyncClient, database: Database, seeds: Seeds
) -> None:
    """A balancer sends requests elsewhere for that time, and comes back without a restart."""
    role = sql.Identifier(database.service_role).as_string()
    assert (await client.get("/readyz")).status_code == 200
    execute(database, f"REVOKE INSERT ON events FROM {role}", owner=True)
    refused = await client.post("/api/v1/users", json={"balance": 1000})
    unready = await client.get("/readyz")
    health = (await client.get("/api/v1/health")).json()

    execute(database, f"GRANT INSERT ON events TO {role}", owner=True)
    ready = await client.get("/readyz")
    seeds.heartbeat("worker", "host:1:a")
    seeds.heartbeat("projector", "host:2:b")
    mended = (await client.get("/api/v1/health")).json()

    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert (unready.status_code, ready.status_code) == (503, 200)
    assert (health["status"], health["writer_trouble"]) == (
        "degraded",
        "the session's role does not have the right to do this (42501)",
    )
    assert (mended["status"], mended["writer_trouble"]) == ("ok", None)
