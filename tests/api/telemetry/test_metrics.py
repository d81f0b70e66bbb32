"""`/metrics`: figures of requests, batches and payments, without a text of any client in a label."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest
from litestar import Litestar
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.queries.health_rule import RULES
from api.settings import Settings
from api.telemetry.durations import Histogram, Histograms
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
REQUESTS = "payment_ledger_http_request_duration_seconds_count"


def samples(text: str) -> Samples:
    """Read a scrape: the value of each name and its labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    """Return one value of a scrape."""
    return samples(text)[name, frozenset(labels.items())]


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient) -> None:
    """The direct payment routes are among them, in each of their forms."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    await client.post("/api/v1/payments/deposit/", json={"user_id": 1, "deposit": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "x"})
    for user_id in (1, 1, 7):
        await client.get(f"/api/v1/users/{user_id}")

    text = (await client.get("/metrics")).text

    deposit = {"method": "POST", "route": "/api/v1/payments/deposit"}
    user = {"method": "GET", "route": "/api/v1/users/{user_id}"}
    assert value(text, REQUESTS, **deposit, status="202") == 2
    assert value(text, REQUESTS, **deposit, status="422") == 1
    assert value(text, REQUESTS, **user, status="200") == 2
    assert value(text, REQUESTS, **user, status="404") == 1


async def test_no_text_of_a_client_becomes_a_label(client: httpx.AsyncClient) -> None:
    """Canaries in path, query, header, body and method."""
    await client.post("/api/v1/users", json={"balance": 1})
    await client.get("/canary-path/canary")
    await client.get("/api/v1/users/1?canary=canary", headers={"X-Canary": "canary", "X-Request-ID": "canary-request"})
    await client.request("CANARY", "/api/v1/users")
    await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1}, headers={"Idempotency-Key": "canary-key"}
    )

    text = (await client.get("/metrics")).text

    assert "canary" not in text.lower()
    assert value(text, REQUESTS, method="GET", route="unmatched", status="404") == 1
    assert 'method="OTHER"' in text


async def test_series_do_not_grow_with_the_paths_that_clients_think_of(client: httpx.AsyncClient) -> None:
    """A thousand paths are one series more."""
    for number in range(20):
        await client.get(f"/nothing/{number}")
        await client.get("/livez" + "/" * number)
        await client.get(f"/api/v1/payments/{number + 1}")
    before = len(samples((await client.get("/metrics")).text))
    for number in range(20, 60):
        await client.get(f"/nothing/{number}")
        await client.get("/livez" + "/" * number)
        await client.get(f"/api/v1/payments/{number + 1}")
    after = len(samples((await client.get("/metrics")).text))

    assert after - before <= len(samples_of_one_route())


def samples_of_one_route() -> Samples:
    """The series that the first scrape itself adds: a histogram of `/metrics`."""
    histograms = Histograms("x", "x", ())
    histograms.of().observe(1)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in histograms.family().samples}


async def test_batches_of_the_writer_are_measured(client: httpx.AsyncClient) -> None:
    """Their size, the wait for the head, the commit, and the time until the answers."""
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/users", json={"balance": 1})

    text = (await client.get("/metrics")).text

    assert value(text, "payment_ledger_writer_batch_commands_sum") == 2
    for name in ("writer_head_wait_seconds", "writer_commit_duration_seconds", "writer_batch_duration_seconds"):
        assert value(text, f"payment_ledger_{name}_count") == 2
        assert value(text, f"payment_ledger_{name}_sum") > 0
    assert value(text, "payment_ledger_writer_commands_waiting") == 0


async def test_totals_and_states_come_from_the_database(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """So they are the same in every process, and survive all of them."""
    seeds.ends("deposit", "JPY", "succeeded", 7)
    seeds.counter("gateway_timeouts_total", 3)
    seeds.letter(2, position=4)
    seeds.heartbeat("worker", "host:1:a")
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})

    text = (await client.get("/metrics")).text

    assert value(text, "payment_ledger_payments_ended_total", kind="deposit", currency="JPY", end="succeeded") == 7
    assert value(text, "payment_ledger_gateway_attempts_total", outcome="timeout") == 3
    assert value(text, "payment_ledger_dead_letters", state="failed") == 1
    assert value(text, "payment_ledger_dead_letter_oldest_seconds", state="failed") > 0
    assert value(text, "payment_ledger_gateway_queue_payments") == 1
    assert value(text, "payment_ledger_projection_lag_events", group="counters") == 2
    assert value(text, "payment_ledger_parts_alive", part="worker") == 1
    assert value(text, "payment_ledger_health_rule", rule="no_projector", severity="error") == 1
    assert value(text, "payment_ledger_health_rule", rule="no_worker", severity="error") == 0
    rules = {dict(labels)["rule"] for name, labels in samples(text) if name == "payment_ledger_health_rule"}
    assert rules == {rule.name for rule in RULES}


def promtool(text: bytes) -> tuple[int, bytes, bytes]:
    """Let promtool check a scrape."""
    command = [shutil.which("promtool") or "", "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, check=False)
    return checked.returncode, checked.stdout, checked.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_accepts_the_metrics(client: httpx.AsyncClient) -> None:
    """Names, units, help and types."""
    await client.post("/api/v1/users", json={"balance": 1})
    answer = await client.get("/metrics")

    assert await asyncio.to_thread(promtool, answer.content) == (0, b"", b"")


class TestWithoutDatabase:
    """Nobody listens at the database's address."""

    @pytest.fixture
    async def app(self, settings: Settings) -> AsyncIterator[Litestar]:
        """Start the application without its database."""
        app = create_app(settings, Partitions.whole(Database("postgresql://127.0.0.1:1/none?connect_timeout=2")))
        async with app.lifespan():
            yield app

    async def test_a_scrape_says_that_the_database_is_away(self, client: httpx.AsyncClient) -> None:
        """The figures of the process are there, and those of the ledger are not shown as zero."""
        answer = await client.get("/metrics")

        assert answer.status_code == 200
        assert value(answer.text, "payment_ledger_health_rule", rule="database_unavailable", severity="critical") == 1
        assert "payment_ledger_payments_ended_total" not in answer.text
        assert "payment_ledger_dead_letters" not in answer.text


def test_a_value_counts_in_the_first_bucket_that_holds_it() -> None:
    """A bound belongs to its own bucket, and buckets add up."""
    histogram = Histogram((0.1, 1.0))
    for seen in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seen)

    assert [*histogram.buckets()] == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert histogram.total == pytest.approx(7.65)


async def test_a_scrape_counts_no_large_table(client: httpx.AsyncClient, database: Database) -> None:
    """The letters are Postgres's estimate, which stays until the next ANALYZE."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("ALTER TABLE dead_letter SET (autovacuum_enabled = off)")
        connection.execute(
            "INSERT INTO dead_letter SELECT n, n, 1, 'deposit', 1, 0, 'USD', 'failed', 'x', 1, now()"
            " FROM generate_series(1, 50000) AS n"
        )
        connection.execute("ANALYZE dead_letter")
        connection.execute("DELETE FROM dead_letter WHERE payment_id % 2 = 0")

    answer = await client.get("/metrics")

    assert value(answer.text, "payment_ledger_dead_letters", state="failed") == 50_000
