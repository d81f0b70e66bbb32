"""Health and metrics: what operators and supervisors read, quick also when the database is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from ledger.database import Database
from ledger.settings import Settings
from projections.counters import NAMES
from tests.api.conftest import BASE_URL
from tests.api.seeds import Seeds

pytestmark = pytest.mark.anyio


async def test_an_api_alone_is_healthy_while_its_database_is(client: httpx.AsyncClient) -> None:
    """Nothing else has to run for that, and what waits is shown."""
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})

    answer = await client.get("/api/v1/health")

    health = answer.json()
    assert answer.status_code == 200
    assert (health["status"], health["database"], health["position"]) == ("ok", "ok", 2)
    assert health["withheld"] is False
    assert health["gateway_queue"]["waiting"] == 1
    assert health["gateway_queue"]["oldest_due_seconds"] >= 0
    assert {(model["name"], model["lag"]) for model in health["read_models"]} == {("read_models", 2), ("counters", 2)}
    assert health["dead_letters"] == {"failed": 0, "in_doubt": 0, "reconcile": 0}
    assert health["parts"] == []


async def test_everybody_who_asks_at_once_gets_an_answer(client: httpx.AsyncClient) -> None:
    """Also while one look ends and the next begins."""

    async def ask(path: str) -> list[int]:
        return [(await client.get(path)).status_code for _ in range(60)]

    asked = await asyncio.gather(*(ask(path) for path in ("/api/v1/health", "/readyz") * 4))

    assert asked == [[200] * 60] * 8


async def test_health_shows_parts_letters_and_a_stopped_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """A read model that stopped degrades the service, and says where it did."""
    seeds.heartbeat("worker", "host:1:a")
    seeds.letter(1, position=3, state="in_doubt")
    seeds.letter(2, position=4)
    seeds.stopped("counters")

    health = (await client.get("/api/v1/health")).json()

    assert health["status"] == "degraded"
    assert health["dead_letters"] == {"failed": 1, "in_doubt": 1, "reconcile": 0}
    assert [(part["part"], part["instance"]) for part in health["parts"]] == [("worker", "host:1:a")]
    stopped = next(model for model in health["read_models"] if model["name"] == "counters")
    assert (stopped["stopped_at_position"], stopped["stopped_because"]) == (7, "unknown topic")


async def test_a_copy_that_was_not_taken_over_says_so_and_refuses_payments(
    client: httpx.AsyncClient, database: Database
) -> None:
    """It can be read; whoever sends it a payment is told to go elsewhere."""
    await client.post("/api/v1/users", json={"balance": 1})
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE head SET withheld = true")

    health = (await client.get("/api/v1/health")).json()
    refused = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    read = await client.get("/api/v1/users/1")

    assert (health["status"], health["database"], health["withheld"]) == ("degraded", "ok", True)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_withheld")
    assert (read.status_code, read.json()["balance"]) == (200, 1)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez/"])
async def test_probes_are_at_the_root(client: httpx.AsyncClient, path: str) -> None:
    """And are fine while the database is."""
    answer = await client.get(path)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_what_is_hard_to_count_keeps_nobody_from_being_served(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Where the gateway was away for long, much waits in its queue; a balancer is still to send requests."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE gateway_queue IN ACCESS EXCLUSIVE MODE")

        health = await client.get("/api/v1/health")
        ready = await client.get("/readyz")
        connection.execute("ROLLBACK")

    assert health.json()["status"] == "degraded"
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_metrics_are_always_all_there(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Those that were never counted are zero."""
    seeds.counter("payments_success_total", 7)
    seeds.counter("something_else_total", 9)

    metrics = (await client.get("/api/v1/metrics")).json()

    assert list(metrics) == [*NAMES, "idempotency_hits_total"]
    assert {name: value for name, value in metrics.items() if value} == {"payments_success_total": 7}


class TestWithoutDatabase:
    """Nobody listens where the database should be."""

    @pytest.fixture
    async def app(self, settings: Settings) -> AsyncIterator[Litestar]:
        """Start all the same."""
        app = create_app(settings, Database("postgresql://127.0.0.1:1/none?connect_timeout=2"))
        async with app.lifespan():
            yield app

    async def test_the_process_lives_and_is_not_ready(self, client: httpx.AsyncClient) -> None:
        """A supervisor need not restart it, and a balancer sends it nothing."""
        live = await client.get("/livez")
        ready = await client.get("/readyz")

        assert live.status_code == 200
        assert (ready.status_code, ready.json()["code"]) == (503, "database_unavailable")
        assert ready.headers["retry-after"] == "1"

    async def test_health_is_degraded_and_quick(self, client: httpx.AsyncClient) -> None:
        """It does not wait for the database longer than a second."""
        started = time.monotonic()
        answers = [await client.get("/api/v1/health") for _ in range(2)]

        assert time.monotonic() - started < 4
        assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "degraded")}
        assert {answer.json()["database"] for answer in answers} == {"unavailable"}

    @pytest.mark.parametrize(
        "path", ["/api/v1/payments/1", "/api/v1/users/1", "/api/v1/payments", "/api/v1/dlq", "/api/v1/metrics"]
    )
    async def test_reads_are_put_off(self, client: httpx.AsyncClient, path: str) -> None:
        """With a hint when to come again."""
        answer = await client.get(path)

        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_database_without_a_ledger_is_not_ready(settings: Settings, postgres_url: str) -> None:
    """It answers, and has nothing to serve from."""
    app = create_app(settings, Database(postgres_url, "no_such_ledger"))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        answer = await client.get("/readyz")

    assert answer.status_code == 503
