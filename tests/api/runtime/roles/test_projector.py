"""A projector process follows the logs of several partitions, and one that is away does not stop the others."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from api.runtime.readiness import heartbeats_fresh
from api.runtime.roles.projector import run
from api.settings import Settings
from ledger.partition.partition import Partition, Partitions
from tests.api.runtime.roles.running import running
from tests.support.databases import execute, fresh_partitions
from tests.support.ledgers.deposits import deposits
from tests.support.proxies import proxy_before
from tests.support.waiting import wait_until

SETTINGS = Settings.load({"WORKER_POLL_INTERVAL_SECONDS": "0.1"})


def shown(partition: Partition) -> int:
    """How many payments the read models of a partition show."""
    return int(execute(partition.database, "SELECT count(*) FROM payment_status")[0][0])


@contextmanager
def second_behind_proxy(postgres_url: str) -> Iterator[tuple[Partitions, Partitions]]:
    """Yield two partitions, and the same where the second one cannot be reached."""
    with fresh_partitions(postgres_url, 2) as partitions, proxy_before(postgres_url) as proxy:
        first, second = partitions
        proxy.refusing = True
        yield partitions, Partitions([first, replace(second, database=replace(second.database, url=proxy.url))])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_read_models_of_all_partitions_follow(postgres_url: str, count: int) -> None:
    """In one process, with a heartbeat in each partition until it stops."""
    with fresh_partitions(postgres_url, count) as partitions:
        with running(run, SETTINGS, partitions):
            for partition in partitions:
                deposits(partition, 3)
            wait_until(lambda: [shown(partition) for partition in partitions] == [3] * count)
            assert heartbeats_fresh("projector", partitions)

        assert not any(heartbeats_fresh("projector", partitions.serving([n])) for n in range(count))


def test_a_partition_that_is_away_does_not_stop_the_others(postgres_url: str) -> None:
    """The process goes on without it."""
    with second_behind_proxy(postgres_url) as (partitions, seen):
        for partition in partitions:
            deposits(partition, 3)
        with running(run, SETTINGS, seen):
            wait_until(lambda: shown(partitions.first) == 3)

        assert [shown(partition) for partition in partitions] == [3, 0]


def test_a_process_serves_the_partitions_that_it_is_told(postgres_url: str) -> None:
    """The others wait for another process."""
    with fresh_partitions(postgres_url, 2) as partitions:
        for partition in partitions:
            deposits(partition, 3)
        with running(run, SETTINGS, partitions.serving([1])):
            wait_until(lambda: shown([*partitions][1]) == 3)

        assert shown(partitions.first) == 0
