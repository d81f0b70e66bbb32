"""`status` and `doctor` over several partitions: all is well only when it is in each, and faults name their own."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from ledger.partition.partition import Partition, Partitions
from ledger.store.heartbeats import PARTS, Heartbeat
from tests.api.cli.shell import Shell, as_owner, as_url
from tests.support.databases import execute
from tests.support.ports import free_port
from tests.support.seeds import Seeds
from tests.support.waiting import wait_until


@pytest.fixture
def beating(two: Partitions) -> Iterator[None]:
    """Let each partition have a worker and a projector that beat, until the test ends."""
    ended = threading.Event()

    def beat(partition: Partition) -> None:
        with closing(partition.database.connect(application="test")) as connection:
            while not ended.wait(0.5):
                for part in PARTS:
                    Heartbeat(part, "here-1-a").beat(connection)

    threads = [threading.Thread(target=beat, args=(partition,)) for partition in two]
    for thread in threads:
        thread.start()
    for partition in two:
        wait_until(lambda: execute(partition.database, "SELECT count(*) FROM heartbeats") == [(2,)])  # noqa: B023
    yield
    ended.set()
    for thread in threads:
        thread.join()


pytestmark = pytest.mark.usefixtures("beating")


def test_all_is_well_when_it_is_in_each_partition(two_shell: Shell) -> None:
    """Both have their report."""
    for_people, for_machines = two_shell.run("status"), two_shell.run("status", "--json")
    doctor = two_shell.run("doctor")

    status = json.loads(for_machines.stdout)
    assert (for_people.returncode, for_machines.returncode, doctor.returncode) == (0, 0, 0)
    assert (status["ok"], status["wrong"]) == (True, [])
    assert [(each["partition"], each["ok"], each["pulse"]["position"]) for each in status["partitions"]] == [
        (0, True, 0),
        (1, True, 0),
    ]
    assert [line for line in for_people.stdout.splitlines() if line.startswith("Partition")] == [
        "Partition 0",
        "Partition 1",
    ]


def test_a_fault_names_its_partition_and_the_worst_counts(two: Partitions, two_shell: Shell) -> None:
    """A warning in one partition, an error in the other."""
    as_owner(two.first.database, "UPDATE log_head SET at = now() + interval '1 minute'")
    with closing([*two][1].database.connect(application="test")) as connection:
        Seeds(connection).stopped("counters")

    status, doctor = two_shell.run("status", "--json"), two_shell.run("doctor", "--json")
    for_people = two_shell.run("doctor")

    wrong = json.loads(status.stdout)["wrong"]
    rules = {row["name"]: row["sentences"] for row in json.loads(doctor.stdout)["rules"] if row["sentences"]}
    assert (status.returncode, doctor.returncode) == (1, 4)
    assert [sentence[:30] for sentence in wrong] == ["partition 0: the log's last ti", "partition 1: counters stopped "]
    assert {name: [sentence[:30] for sentence in found] for name, found in rules.items()} == {
        "log_ahead_of_clock": ["partition 0: the log's last ti"],
        "read_model_stopped": ["partition 1: counters stopped "],
    }
    assert "partition 1: counters stopped" in for_people.stdout


def test_a_partition_that_is_away_is_named_and_the_others_are_shown(two: Partitions, two_shell: Shell) -> None:
    """An operator sees at once which database to look at."""
    away = f"postgresql://127.0.0.1:{free_port()}/none?connect_timeout=2"
    ended = [
        two_shell.run(*words, LEDGER_PARTITION_URLS=f"{as_url(two.first.database.url)} {away}")
        for words in (["status", "--json"], ["status"], ["doctor", "--json"])
    ]

    status = json.loads(ended[0].stdout)
    assert [each.returncode for each in ended] == [1, 1, 5]
    assert [(each["partition"], each["pulse"] is None) for each in status["partitions"]] == [(0, False), (1, True)]
    assert len(status["wrong"]) == 1
    assert status["wrong"][0].startswith("partition 1: the database does not answer")
    assert "Its database gives no report." in ended[1].stdout
    assert json.loads(ended[2].stdout)["worst"] == "critical"
