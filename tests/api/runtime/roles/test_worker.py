"""A worker process serves several partitions, and one whose database is away does not stop the others."""

from collections.abc import Iterator

import psycopg
import pytest
from msgspec.structs import replace

from api.runtime.readiness import heartbeats_fresh
from api.runtime.roles.worker import run
from api.settings import Settings, SettingsError
from ledger.partition.partition import Partition, Partitions
from processors.simulators.demo.scenario import DemoProfile
from tests.api.runtime.roles.running import running
from tests.support.databases import execute, fresh_partitions
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book
from tests.support.ledgers.deposits import deposits
from tests.support.proxies import PostgresProxy, proxy_before
from tests.support.services import QUICK_GATEWAY
from tests.support.waiting import wait_until


def settings_for(url: str, **more: str) -> Settings:
    """Settings of a worker that calls this gateway, and that finds its work soon."""
    return Settings.load(QUICK_GATEWAY | {"PAYMENT_GATEWAY_URL": url, "WORKER_POLL_INTERVAL_SECONDS": "0.1"} | more)


def settled(partition: Partition) -> int:
    """How many payments of a partition have come to a good end."""
    return int(execute(partition.database, "SELECT count(*) FROM events WHERE topic = 'payment.succeeded'")[0][0])


@pytest.fixture
def gateway_url(postgres_url: str) -> Iterator[str]:
    """Yield the address of a demo gateway, a process of its own, that approves everything."""
    profile = DemoProfile(timeout_rate=0, error_rate=0, seed=1)
    with fresh_book(postgres_url) as book, DemoGatewayProcess(book, profile) as gateway:
        yield gateway.url


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[Partitions, Partitions, PostgresProxy]]:
    """Yield two partitions, the same as a worker sees them, and the proxy before the second one."""
    with fresh_partitions(postgres_url, 2) as partitions, proxy_before(postgres_url) as proxy:
        first, second = partitions
        behind = replace(second, database=replace(second.database, url=proxy.url))
        yield partitions, Partitions([first, behind]), proxy


@pytest.mark.parametrize("count", [1, 2, 4])
def test_payments_of_all_partitions_settle(postgres_url: str, gateway_url: str, count: int) -> None:
    """In one process, and with a heartbeat in each partition until it stops."""
    with fresh_partitions(postgres_url, count) as partitions:
        asked = [len(deposits(partition, 5)) for partition in partitions]
        with running(run, settings_for(gateway_url), partitions):
            wait_until(lambda: [settled(partition) for partition in partitions] == asked)
            assert heartbeats_fresh("worker", partitions)

        assert not any(heartbeats_fresh("worker", partitions.serving([n])) for n in range(count))


def test_more_calls_than_slots_settle(postgres_url: str, gateway_url: str) -> None:
    """Each partition has one call at a time here, and none waits for another partition."""
    with fresh_partitions(postgres_url, 4) as partitions:
        asked = [len(deposits(partition, 10)) for partition in partitions]
        with running(run, settings_for(gateway_url, WORKER_CONCURRENCY="4"), partitions):
            wait_until(lambda: [settled(partition) for partition in partitions] == asked)


def test_a_process_serves_the_partitions_that_it_is_told(postgres_url: str, gateway_url: str) -> None:
    """The others wait for another process, and its heartbeat is in its own partition alone."""
    with fresh_partitions(postgres_url, 2) as partitions:
        for partition in partitions:
            deposits(partition, 3)
        with running(run, settings_for(gateway_url), partitions.serving([1])):
            wait_until(lambda: settled([*partitions][1]) == 3)
            assert heartbeats_fresh("worker", partitions.serving([1]))
            assert not heartbeats_fresh("worker", partitions)

        assert settled(partitions.first) == 0


def test_a_partition_that_is_away_does_not_stop_the_others(
    proxied: tuple[Partitions, Partitions, PostgresProxy], gateway_url: str
) -> None:
    """From the start of the process, and when it goes away later; its payments settle once it is back."""
    partitions, seen, proxy = proxied
    first, second = partitions
    proxy.refusing = True
    deposits(second, 4)
    with running(run, settings_for(gateway_url, WORKER_CONCURRENCY="2"), seen):
        deposits(first, 4)
        wait_until(lambda: settled(first) == 4)
        assert settled(second) == 0

        proxy.refusing = False
        wait_until(lambda: settled(second) == 4)
        proxy.refusing = True
        proxy.lose_all()
        deposits(second, 4)
        deposits(first, 4)
        wait_until(lambda: settled(first) == 8)
        assert settled(second) == 4

        proxy.refusing = False
        wait_until(lambda: settled(second) == 8)


def test_a_stop_while_a_partition_is_away_drains_the_others(
    proxied: tuple[Partitions, Partitions, PostgresProxy], gateway_url: str
) -> None:
    """They leave their heartbeats as after any clean stop; then the process ends with the error of the other one."""
    partitions, seen, proxy = proxied
    proxy.refusing = True
    deposits(partitions.first, 4)

    def serve_the_first() -> None:
        with running(run, settings_for(gateway_url), seen):
            wait_until(lambda: settled(partitions.first) == 4)
            assert heartbeats_fresh("worker", partitions.serving([0]))

    with pytest.raises(psycopg.OperationalError):
        serve_the_first()

    assert not heartbeats_fresh("worker", partitions.serving([0]))


def test_a_worker_with_fewer_calls_than_partitions_is_refused(postgres_url: str) -> None:
    """The setting is named, and nothing has begun."""
    with fresh_partitions(postgres_url, 2) as partitions:
        with (
            pytest.raises(SettingsError, match="WORKER_CONCURRENCY: must be at least 2"),
            running(run, settings_for("http://127.0.0.1:1", WORKER_CONCURRENCY="1"), partitions),
        ):
            pass
        assert not heartbeats_fresh("worker", partitions)
