"""Health and metrics over four partitions: sums and maxima over all of them, and what each says, one away or not."""

from datetime import UTC, datetime

import httpx
import pytest

from api.app import create_app
from api.queries.health_rule import RULES
from api.settings import Settings
from ledger.partition.partition import Partitions
from tests.api.partitions.conftest import without
from tests.api.telemetry.test_metrics import samples, value
from tests.support.databases import execute
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio


def all_alive(partition_seeds: list[Seeds]) -> None:
    """Let a worker and a projector be alive in each partition."""
    for seeds in partition_seeds:
        seeds.heartbeat("worker", "host:1:a")
        seeds.heartbeat("projector", "host:2:b")


async def test_health_adds_up_the_partitions_and_shows_each(
    client: httpx.AsyncClient, partition_seeds: list[Seeds], partitions: Partitions
) -> None:
    """The queue and the letters are sums; positions and read models are those of a partition."""
    all_alive(partition_seeds)
    for user in [(await client.post("/api/v1/users", json={"balance": 1})).json()["id"] for _ in range(4)]:
        for _ in range(user):
            await client.post("/api/v1/payments/deposit", json={"user_id": user, "deposit": 1})
        partition_seeds[user - 1].letter(user, position=3, at=datetime.now(UTC))
    execute(partitions.of(3).database, "UPDATE gateway_queue SET due_at = now() - interval '30 minutes'")

    health = (await client.get("/api/v1/health")).json()

    assert (health["status"], health["wrong"], health["database"]) == ("ok", [], "ok")
    assert health["gateway_queue"]["waiting"] == 1 + 2 + 3 + 4
    assert 1_800 <= health["gateway_queue"]["oldest_due_seconds"] < 1_900
    assert health["dead_letters"] == {"failed": 4, "in_doubt": 0, "contradicted": 0}
    assert health["oldest_in_doubt_seconds"] == 0
    assert health["oldest_letter_seconds"]["failed"] > 0
    assert (health["position"], health["read_models"], "partition" in health) == (None, None, False)
    each = health["partitions"]
    assert [(one["partition"], one["position"], one["gateway_queue"]["waiting"]) for one in each] == [
        (0, 2, 1),
        (1, 3, 2),
        (2, 4, 3),
        (3, 5, 4),
    ]
    assert {part["part"] for one in each for part in one["parts"]} == {"worker", "projector"}


async def test_a_fault_is_named_with_its_partition(client: httpx.AsyncClient, partition_seeds: list[Seeds]) -> None:
    """The others stay as they are."""
    all_alive(partition_seeds)
    partition_seeds[1].stopped("counters")

    health = (await client.get("/api/v1/health")).json()

    assert health["status"] == "degraded"
    assert health["wrong"] == ["partition 1: counters stopped at position 7: unknown topic"]
    assert [(finding["name"], finding["partition"]) for finding in health["findings"]] == [("read_model_stopped", 1)]
    assert [one["status"] for one in health["partitions"]] == ["ok", "degraded", "ok", "ok"]
    assert health["partitions"][1]["wrong"] == ["counters stopped at position 7: unknown topic"]


async def test_metrics_are_sums_over_all_partitions(client: httpx.AsyncClient, partition_seeds: list[Seeds]) -> None:
    """A counter that one of them lacks is zero there."""
    partition_seeds[0].counter("payments_success_total", 7)
    partition_seeds[3].counter("payments_success_total", 5)
    partition_seeds[2].counter("dlq_written_total", 2)

    metrics = (await client.get("/api/v1/metrics")).json()

    assert {name: count for name, count in metrics.items() if count} == {
        "payments_success_total": 12,
        "dlq_written_total": 2,
    }


async def test_a_scrape_has_the_figures_of_each_partition_and_the_sum_of_the_totals(
    client: httpx.AsyncClient, partition_seeds: list[Seeds]
) -> None:
    """Only figures of a partition have the label."""
    all_alive(partition_seeds)
    partition_seeds[0].counter("gateway_timeouts_total", 7)
    partition_seeds[2].counter("gateway_timeouts_total", 3)
    partition_seeds[1].ends("deposit", "JPY", "succeeded", 2)
    partition_seeds[2].ends("deposit", "JPY", "succeeded", 4)
    partition_seeds[3].letter(4, position=9)
    partition_seeds[1].stopped("counters")

    text = (await client.get("/metrics")).text

    assert value(text, "payment_ledger_gateway_attempts_total", outcome="timeout") == 10
    assert value(text, "payment_ledger_payments_ended_total", kind="deposit", currency="JPY", end="succeeded") == 6
    assert [value(text, "payment_ledger_dead_letters", partition=n, state="failed") for n in "0123"] == [0, 0, 0, 1]
    assert [value(text, "payment_ledger_parts_alive", partition=n, part="worker") for n in "0123"] == [1, 1, 1, 1]
    stopped = {"rule": "read_model_stopped", "severity": "error"}
    assert [value(text, "payment_ledger_health_rule", partition=n, **stopped) for n in "0123"] == [0, 1, 0, 0]
    assert value(text, "payment_ledger_writer_commands_waiting") == 0
    labelled = {name for name, labels in samples(text) if "partition" in dict(labels)}
    assert {name.removeprefix("payment_ledger_") for name in labelled} == {
        "log_position",
        "log_ahead_seconds",
        "gateway_queue_payments",
        "gateway_queue_oldest_due_seconds",
        "gateway_state",
        "dead_letters",
        "dead_letter_oldest_seconds",
        "projection_lag_events",
        "projection_lag_seconds",
        "parts_alive",
        "health_rule",
    }
    assert len([name for name, _ in samples(text) if name == "payment_ledger_health_rule"]) == 4 * len(RULES)


@pytest.mark.parametrize("partitions", [1], indirect=True)
async def test_one_partition_is_named_nowhere(client: httpx.AsyncClient, partition_seeds: list[Seeds]) -> None:
    """Answers are those of a ledger that knows no partitions; only positions always had theirs beside them."""
    partition_seeds[0].letter(1, position=3)

    answers = [await client.get(path) for path in ("/metrics", "/api/v1/health", "/api/v1/dlq", "/api/v1/gateway")]
    trial_balance = (await client.get("/api/v1/audit/trial-balance")).json()

    assert [answer.status_code for answer in answers] == [200] * 4
    assert ["partition" in answer.text for answer in answers] == [False] * 4
    assert trial_balance == {"balanced": True, "position": 0, "set_aside": [], "currencies": []}


class TestOneIsAway:
    """The database of partition 2 is away."""

    @pytest.fixture
    def served(self, partitions: Partitions) -> Partitions:
        """Let the service look for partition 2 where there is none."""
        return without(partitions, 2)

    async def test_the_service_is_ready_for_the_users_of_the_others(self, client: httpx.AsyncClient) -> None:
        """A balancer that took the process out of service would take it from all users."""
        answer = await client.get("/readyz")

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    async def test_health_is_degraded_and_hides_no_other(
        self, client: httpx.AsyncClient, partition_seeds: list[Seeds]
    ) -> None:
        """The sums are not told, because they would lack what the partition has."""
        all_alive(partition_seeds)
        await client.get("/api/v1/health")  # the first one may find the others slow, while they connect

        health = (await client.get("/api/v1/health")).json()

        assert (health["status"], health["database"]) == ("degraded", "unavailable")
        assert health["wrong"][0] == "partition 2: the database does not answer within 1 s, or has no ledger"
        assert {finding["partition"] for finding in health["findings"]} == {2}
        assert [one["database"] for one in health["partitions"]] == ["ok", "ok", "unavailable", "ok"]
        assert [one["position"] for one in health["partitions"]] == [0, 0, None, 0]
        assert (health["gateway_queue"], health["dead_letters"], health["oldest_letter_seconds"]) == (None, None, None)

    async def test_a_scrape_has_the_figures_of_the_others(
        self, client: httpx.AsyncClient, partition_seeds: list[Seeds]
    ) -> None:
        """Totals are left out: a sum without the partition would look like a restart of all counters."""
        partition_seeds[0].counter("gateway_timeouts_total", 7)
        await client.get("/metrics")  # the first one may find the others slow, while they connect

        text = (await client.get("/metrics")).text

        away = {"rule": "database_unavailable", "severity": "critical"}
        assert [value(text, "payment_ledger_health_rule", partition=n, **away) for n in "0123"] == [0, 0, 1, 0]
        positions = {labels for name, labels in samples(text) if name == "payment_ledger_log_position"}
        assert positions == {frozenset({("partition", n)}) for n in "013"}
        assert not any(name.startswith("payment_ledger_gateway_attempts") for name, _ in samples(text))


async def test_a_service_of_which_all_are_away_is_not_ready(settings: Settings, partitions: Partitions) -> None:
    """As with one partition."""
    served = partitions
    for number in range(len(partitions)):
        served = without(served, number)
    app = create_app(settings, served)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
