"""An operator's actions over several partitions: on each of them, and none hides that another one failed."""

import json
from typing import Any

import pytest

from ledger.audit.verify import verify_store
from ledger.partition.partition import Partition, Partitions
from ledger.store.database import Database
from tests.api.cli.shell import Shell, as_owner, as_url, project
from tests.support.databases import execute
from tests.support.ledgers.deposits import deposits
from tests.support.ports import free_port

WHO = ("--why", "their maintenance", "--by", "Ada")


@pytest.fixture
def second(two: Partitions) -> Partition:
    """Fill both partitions, and give the second one."""
    _, second = two
    for partition in two:
        deposits(partition, 3)
        project(partition.database)
    return second


def decoded(text: str) -> Any:
    return json.loads(text)


def topics(database: Database) -> list[str]:
    """The topics of a log, in order."""
    return [topic for (topic,) in execute(database, "SELECT topic FROM events ORDER BY notification_id")]


def without_second(two: Partitions) -> dict[str, str]:
    """Settings with which the second partition cannot be reached."""
    away = f"postgresql://127.0.0.1:{free_port()}/none?connect_timeout=2"
    return {"LEDGER_PARTITION_URLS": f"{as_url(two.first.database.url)} {away}"}


def test_a_gateway_is_paused_in_every_partition(two: Partitions, two_shell: Shell) -> None:
    """Each has an event of its own, and tells how it is."""
    paused = two_shell.run("gateway", "pause", *WHO, "--json")
    status = two_shell.run("gateway", "status")
    resumed = two_shell.run("gateway", "resume", *WHO)

    seen = decoded(paused.stdout)
    assert [run.returncode for run in (paused, status, resumed)] == [0, 0, 0]
    assert (seen["ok"], [each["result"]["state"] for each in seen["partitions"]]) == (True, ["paused", "paused"])
    assert [line.partition(" since")[0] for line in status.stdout.splitlines()] == [
        "Partition 0: The gateway is paused",
        "Partition 1: The gateway is paused",
    ]
    assert resumed.stdout == "Partition 0: The gateway is called.\nPartition 1: The gateway is called.\n"
    assert [topics(partition.database) for partition in two] == [["operation.gateway_changed"] * 2] * 2


def test_a_pause_that_reaches_only_some_says_which(two: Partitions, two_shell: Shell) -> None:
    """Those that can be reached are paused all the same."""
    away = without_second(two)
    paused, status = two_shell.run("gateway", "pause", *WHO, **away), two_shell.run("gateway", "status", **away)
    whole = two_shell.run("gateway", "status", "--json")

    assert (paused.returncode, status.returncode, whole.returncode) == (1, 1, 0)
    assert paused.stderr == "Not all partitions were reached, and these are as they were: 1.\n"
    assert "Partition 0: The gateway is paused since" in paused.stdout
    assert "Partition 1: Not reached: " in paused.stdout
    assert [each["result"]["state"] for each in decoded(whole.stdout)["partitions"]] == ["paused", "closed"]


@pytest.mark.usefixtures("second")
def test_every_partition_is_recovered(two: Partitions, two_shell: Shell) -> None:
    """Or the one that is named; the audit of each is clean afterwards."""
    one = two_shell.run("recover", "--skip", "5", "--partition", "1", "--json")
    every = two_shell.run("recover", "--skip", "5", "--json")
    for_people = two_shell.run("recover", "--skip", "5")

    assert [run.returncode for run in (one, every, for_people)] == [0, 0, 0]
    assert decoded(one.stdout)["calls"] == 3
    assert [each["result"]["skipped"] for each in decoded(every.stdout)["partitions"]] == [5, 5]
    assert "Partition 0\n0 open calls count as begun; 5 numbers are left out." in for_people.stdout
    assert [topics(partition.database).count("ledger.recovered") for partition in two] == [2, 3]
    assert [verify_store(partition.database).errors for partition in two] == [[], []]


def test_a_partition_that_cannot_be_recovered_is_named(two: Partitions, two_shell: Shell, second: Partition) -> None:
    """The other one is recovered."""
    as_owner(second.database, "UPDATE log_head SET inactive = true")

    ended = two_shell.run("recover", "--skip", "5", "--json")

    results = decoded(ended.stdout)["partitions"]
    assert (ended.returncode, [each["error"] is None for each in results]) == (1, [True, False])
    assert topics(two.first.database)[-1] == "ledger.recovered"
    assert "ledger.recovered" not in topics(second.database)


def test_the_read_models_of_every_partition_are_made_again(
    two: Partitions, two_shell: Shell, second: Partition
) -> None:
    """Or those of the one that is named; the exit code is 1 when a partition's were wrong."""
    as_owner(second.database, "UPDATE account_balance SET posted_minor = posted_minor + 1")

    first, checked = (
        two_shell.run("rebuild", "--check-only", "--partition", "0"),
        two_shell.run("rebuild", "--check-only"),
    )
    rebuilt, again = two_shell.run("rebuild", "--json"), two_shell.run("rebuild", "--json")

    assert [run.returncode for run in (first, checked, rebuilt, again)] == [0, 1, 1, 0]
    assert checked.stdout.splitlines()[0] == "Partition 0"
    assert [each["result"]["swapped"] for each in decoded(again.stdout)["partitions"]] == [True, True]
    assert execute(second.database, "SELECT posted_minor FROM account_balance") == [(100_000,)]
    assert len(two) == 2


def test_the_roles_of_every_partition_are_printed(two: Partitions, two_shell: Shell) -> None:
    """With the database that each is for."""
    ended = two_shell.run("roles")

    assert ended.returncode == 0
    for partition in two:
        assert f"-- partition {partition.number}, in " in ended.stdout
        assert f'"{partition.database.service_role}"' in ended.stdout


def test_the_keys_of_callers_are_in_the_first_partition(two: Partitions, two_shell: Shell) -> None:
    """One key is for all of the ledger."""
    made = two_shell.run("keys", "create", "Ada", "--scope", "operate", "--json")
    listed = two_shell.run("keys", "list", "--json")

    assert (made.returncode, listed.returncode) == (0, 0)
    assert [key["name"] for key in decoded(listed.stdout)] == ["Ada"]
    assert [execute(partition.database, "SELECT count(*) FROM api_key") for partition in two] == [[(1,)], [(0,)]]
