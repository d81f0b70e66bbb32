"""Health and metrics for operators and supervisors, fast even if the database cannot be reached."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from api.operator.status import read_status
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from projections.models.counters import NAMES
from tests.api.conftest import BASE_URL
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio


async def test_health_is_ok_while_every_part_lives(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """The length of the queue and the lag of the read models are shown."""
    seeds.heartbeat("worker", "host:1:a")
    seeds.heartbeat("projector", "host:2:b")
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})

    answer = await client.get("/api/v1/health")

    health = answer.json()
    assert answer.status_code == 200
    assert (health["status"], health["wrong"], health["database"], health["position"]) == ("ok", [], "ok", 2)
    assert health["inactive"] is False
    assert health["gateway_queue"]["waiting"] == 1
    assert health["gateway_queue"]["oldest_due_seconds"] >= 0
    assert {(model["name"], model["lag"]) for model in health["read_models"]} == {("read_models", 2), ("counters", 2)}
    assert health["dead_letters"] == {"failed": 0, "in_doubt": 0, "contradicted": 0}
    assert health["oldest_in_doubt_seconds"] == 0
    assert [part["part"] for part in health["parts"]] == ["projector", "worker"]


async def test_health_and_status_say_the_same(
    client: httpx.AsyncClient, database: Database, settings: Settings, seeds: Seeds
) -> None:
    """One rule serves both: a dead worker, a payment that is long overdue, and one that is long in doubt."""
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    seeds.heartbeat("projector", "host:2:b")
    seeds.letter(2, position=4, state="in_doubt")
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE gateway_queue SET due_at = now() - interval '90 minutes'")
        connection.execute("UPDATE dead_letter SET created_at = now() - interval '8 days 1 hour'")

    health = (await client.get("/api/v1/health")).json()
    status = await asyncio.to_thread(read_status, database, settings)

    assert health["status"] == "degraded"
    assert health["wrong"] == status.wrong
    assert health["wrong"] == [
        "no worker is alive",
        "a payment has been due at the gateway for 1.5 hours, and no worker has called about it",
        "a payment has been in doubt for 8 days; `payment-ledger dlq list --state in_doubt` shows it",
    ]


async def test_concurrent_health_requests_are_all_answered(client: httpx.AsyncClient) -> None:
    """This includes requests that come between two reads of the status."""

    async def ask(path: str) -> list[int]:
        return [(await client.get(path)).status_code for _ in range(60)]

    asked = await asyncio.gather(*(ask(path) for path in ("/api/v1/health", "/readyz") * 4))

    assert asked == [[200] * 60] * 8


async def test_health_shows_parts_letters_and_a_stopped_read_model(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """A stopped read model degrades the service, and its position and error are shown."""
    seeds.heartbeat("worker", "host:1:a")
    seeds.letter(1, position=3, state="in_doubt", at=datetime.now(UTC))  # older than a day, it would be wrong too
    seeds.letter(2, position=4, at=datetime.now(UTC))
    seeds.stopped("counters")

    health = (await client.get("/api/v1/health")).json()

    assert health["status"] == "degraded"
    assert health["wrong"] == ["counters stopped at position 7: unknown topic", "no projector is alive"]
    assert health["dead_letters"] == {"failed": 1, "in_doubt": 1, "contradicted": 0}
    assert [(part["part"], part["instance"]) for part in health["parts"]] == [("worker", "host:1:a")]
    stopped = next(model for model in health["read_models"] if model["name"] == "counters")
    assert (stopped["stopped_at_position"], stopped["stopped_because"]) == (7, "unknown topic")


async def test_an_inactive_copy_says_so_and_refuses_payments(client: httpx.AsyncClient, database: Database) -> None:
    """It can be read. A client that sends it a payment is refused with the reason."""
    await client.post("/api/v1/users", json={"balance": 1})
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE log_head SET inactive = true")

    health = (await client.get("/api/v1/health")).json()
    refused = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    ready = await client.get("/readyz")
    read = await client.get("/api/v1/users/1")

    assert ready.status_code == 503
    assert (health["status"], health["database"], health["inactive"]) == ("degraded", "ok", True)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_inactive")
    assert (read.status_code, read.json()["balance"]) == (200, 1)


@pytest.mark.parametrize(("ahead", "status"), [("1 second", "ok"), ("6 seconds", "degraded"), ("1 day", "degraded")])
async def test_a_log_ahead_of_the_clock_is_named(
    client: httpx.AsyncClient, database: Database, seeds: Seeds, ahead: str, status: str
) -> None:
    """The database's clock was set back, or had been ahead: events get the log's last time until it has caught up."""
    seeds.heartbeat("worker", "host:1:a")
    seeds.heartbeat("projector", "host:2:b")
    with closing(database.connect(application="payment-ledger tests")) as connection:
        connection.execute("UPDATE log_head SET at = now() + %s::interval", (ahead,))

    health = (await client.get("/api/v1/health")).json()

    assert health["status"] == status
    assert health["log_ahead_seconds"] > 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez/"])
async def test_probes_are_at_the_root(client: httpx.AsyncClient, path: str) -> None:
    """They succeed while the database can be reached."""
    answer = await client.get(path)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_database_that_answers_slowly_is_called_slow_and_is_ready(
    client: httpx.AsyncClient, database: Database
) -> None:
    """After a long outage of the gateway its queue is long, and a balancer must still send requests."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE gateway_queue IN ACCESS EXCLUSIVE MODE")

        health = await client.get("/api/v1/health")
        ready = await client.get("/readyz")
        connection.execute("ROLLBACK")

    assert (health.json()["status"], health.json()["database"]) == ("degraded", "slow")
    assert [finding["name"] for finding in health.json()["findings"]] == ["database_slow"]
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_metrics_list_every_counter(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Counters that were never incremented are zero."""
    seeds.counter("payments_success_total", 7)
    seeds.counter("something_else_total", 9)

    metrics = (await client.get("/api/v1/metrics")).json()

    assert list(metrics) == [*NAMES, "idempotency_hits_total"]
    assert {name: value for name, value in metrics.items() if value} == {"payments_success_total": 7}


class TestWithoutDatabase:
    """Nobody listens at the database's address."""

    @pytest.fixture
    async def app(self, settings: Settings) -> AsyncIterator[Litestar]:
        """Start the application without its database."""
        app = create_app(settings, Partitions.whole(Database("postgresql://127.0.0.1:1/none?connect_timeout=2")))
        async with app.lifespan():
            yield app

    async def test_the_process_lives_and_is_not_ready(self, client: httpx.AsyncClient) -> None:
        """A supervisor need not restart it, and a balancer sends it no requests."""
        live = await client.get("/livez")
        ready = await client.get("/readyz")

        assert live.status_code == 200
        assert (ready.status_code, ready.json()["code"]) == (503, "database_unavailable")
        assert ready.headers["retry-after"] == "1"

    async def test_health_is_degraded_and_quick(self, client: httpx.AsyncClient) -> None:
        """Each request waits for the database for a second at most."""
        started = time.monotonic()
        answers = [await client.get("/api/v1/health") for _ in range(2)]

        assert time.monotonic() - started < 4
        assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "degraded")}
        assert {answer.json()["database"] for answer in answers} == {"unavailable"}

    @pytest.mark.parametrize(
        "path", ["/api/v1/payments/1", "/api/v1/users/1", "/api/v1/payments", "/api/v1/dlq", "/api/v1/metrics"]
    )
    async def test_reads_are_503_with_a_retry_time(self, client: httpx.AsyncClient, path: str) -> None:
        """The answer says when to retry."""
        answer = await client.get(path)

        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_database_without_a_ledger_is_not_ready(settings: Settings, postgres_url: str) -> None:
    """The database can be reached, but has no ledger."""
    app = create_app(settings, Partitions.whole(Database(postgres_url, "no_such_ledger")))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        answer = await client.get("/readyz")

    assert answer.status_code == 503
