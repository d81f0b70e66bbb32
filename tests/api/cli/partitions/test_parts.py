"""Parts over several partitions: all of them by default, or those that are named; each is ready by its own."""

import json
import signal
from pathlib import Path

import pytest

from ledger.partition.partition import Partitions
from tests.api.cli.shell import Shell, shell_of
from tests.support.databases import fresh_partitions
from tests.support.ports import free_port
from tests.support.waiting import wait_until


@pytest.mark.parametrize("part", ["worker", "projector"])
def test_a_part_serves_all_partitions_or_those_that_are_named(two_shell: Shell, part: str) -> None:
    """And is ready for what it serves."""
    with two_shell.running(part, "--partition", "1") as process:
        wait_until(lambda: two_shell.run("ready", part, "--partition", "1").returncode == 0)
        whole = two_shell.run("ready", part)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, two_shell.log.read_text()
    with two_shell.running(part) as process:
        wait_until(lambda: two_shell.run("ready", part).returncode == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, two_shell.log.read_text()

    assert (whole.returncode, f"The {part} is not ready." in whole.stderr) == (1, True)


def test_log_lines_name_their_partition(two_shell: Shell, shell: Shell) -> None:
    """Where there are several; those of a ledger that was not split are as they were."""
    named = []
    for each in (two_shell, shell):
        each.log.write_text("")
        with each.running("projector", LOG_LEVEL="info") as process:
            wait_until(lambda: each.run("ready", "projector").returncode == 0)  # noqa: B023 - waited for at once
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        lines = [json.loads(line) for line in each.log.read_text().splitlines()]
        named.append(sorted(line.get("partition", -1) for line in lines if line["event"] == "projector_started"))

    assert named == [[0, 1], [-1]]


@pytest.mark.parametrize("words", [["worker"], ["projector"], ["ready", "worker"]])
def test_a_partition_that_is_not_there_is_named(two_shell: Shell, words: list[str]) -> None:
    """Before anything is done."""
    ended = two_shell.run(*words, "--partition", "2")

    assert ended.returncode == 2
    assert "There is no partition 2: the ledger has 2 partitions, 0 to 1." in ended.stderr


def test_a_ledger_that_was_not_split_has_one_partition(shell: Shell) -> None:
    """Number 0 may be named."""
    with shell.running("projector", "--partition", "0") as process:
        wait_until(lambda: shell.run("ready", "projector").returncode == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, shell.log.read_text()

    ended = shell.run("projector", "--partition", "1")

    assert (ended.returncode, ended.stderr) == (
        2,
        "There is no partition 1: the ledger has one partition, 0.\n",
    )


def test_the_api_is_asked_for_no_partition(two_shell: Shell) -> None:
    """It serves all of them."""
    ended = two_shell.run("ready", "api", "--partition", "0")

    assert (ended.returncode, "--partition goes with worker and projector" in ended.stderr) == (2, True)


def test_the_gateway_keeps_its_book_in_one_database(two_shell: Shell) -> None:
    """That of the first partition."""
    port = str(free_port())
    with two_shell.running("gateway", DEMO_GATEWAY_PORT=port) as process:
        wait_until(lambda: two_shell.run("ready", "gateway", DEMO_GATEWAY_PORT=port).returncode == 0)
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 0, two_shell.log.read_text()


def test_a_plan_looks_at_all_partitions(two_shell: Shell) -> None:
    """Nothing is missing, and nothing is applied."""
    planned, applied = two_shell.run("migrate", "--plan"), two_shell.run("migrate")

    assert (planned.returncode, applied.returncode) == (0, 0)
    assert planned.stdout == applied.stdout == "Nothing to apply: the schema is up to date.\n"


def test_a_plan_for_another_number_of_partitions_is_refused(two: Partitions, two_shell: Shell) -> None:
    """As the migration is, which would make a second ledger beside the first."""
    ended = two_shell.run("migrate", "--plan", LEDGER_PARTITIONS="1")

    assert ended.returncode == 1
    assert two.first.schema in ended.stderr
    assert "is not the partition that the settings say" in ended.stderr


def test_a_worker_serves_four_partitions(tmp_path: Path, postgres_url: str) -> None:
    """In one process, of which each partition has a heartbeat."""
    with fresh_partitions(postgres_url, 4) as four:
        shell = shell_of(tmp_path, four)
        with shell.running("worker") as process:
            wait_until(lambda: shell.run("ready", "worker").returncode == 0)
            process.send_signal(signal.SIGTERM)

            assert process.wait(10) == 0, shell.log.read_text()
