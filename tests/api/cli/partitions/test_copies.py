"""Copies of one partition of several: a log and a file of its own, and a back-up of the server that has it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.audit.verify import verify_seals
from ledger.partition.identities import check_identities
from ledger.partition.partition import Partitions
from tests.api.cli.shell import Shell, project, shell_of
from tests.support.databases import fresh_partitions
from tests.support.ledgers.deposits import deposits


def decoded(text: str) -> Any:
    return json.loads(text)


def test_a_partition_moves_house(tmp_path: Path, two: Partitions, two_shell: Shell, postgres_url: str) -> None:
    """Its log is the same afterwards, in the same place of another ledger, and it is in charge."""
    for partition in two:
        deposits(partition, 3)
        project(partition.database)
    with fresh_partitions(postgres_url, 2) as elsewhere:
        there = shell_of(tmp_path, elsewhere)
        exported = [two_shell.run("audit", "export", f"log-{n}", "--partition", n, "--json") for n in "01"]
        imported = [there.run("audit", "import", f"log-{n}", "--partition", n, "--json") for n in "01"]
        taken = [there.run("audit", "import", "--take-over", "--partition", n, "--skip", "5", "--json") for n in "01"]
        audit = there.run("audit", "verify", "--json")
        numbers = [max(deposits(partition, 1)) for partition in elsewhere]
        check_identities(elsewhere)

    assert [run.returncode for run in (*exported, *imported, *taken, audit)] == [0] * 7, taken[0].stderr + audit.stdout
    assert [decoded(run.stdout)["digest"] for run in exported] == [verify_seals(p.database).digest for p in two]
    assert [decoded(run.stdout)["taken_over"]["open_payments"] for run in taken] == [3, 3]
    assert [number % 2 for number in numbers] == [1, 0]


def test_a_log_is_not_imported_into_another_partition(tmp_path: Path, two: Partitions, two_shell: Shell) -> None:
    """Its users would not be found there."""
    deposits(two.first, 1)
    two_shell.run("audit", "export", "log", "--partition", "0")
    with fresh_partitions(two.first.database.url, 2) as elsewhere:
        ended = shell_of(tmp_path, elsewhere).run("audit", "import", "log", "--partition", "1")

    assert ended.returncode == 1
    assert "account-1 is opened where account-2 must come next" in ended.stderr


@pytest.mark.parametrize("words", [["export", "log"], ["import", "--take-over"]])
def test_a_partition_has_to_be_named(two_shell: Shell, words: list[str]) -> None:
    """And nothing is done."""
    ended = two_shell.run("audit", *words)

    assert (ended.returncode, (two_shell.directory / "log").exists()) == (2, False)
    assert "The ledger has 2 partitions: name the one that is meant, with --partition from 0 to 1." in ended.stderr


def test_a_back_up_is_of_the_server_that_has_a_partition(tmp_path: Path) -> None:
    """A restore names the commands that the others need."""
    shell = Shell(tmp_path, LEDGER_DATA_DIR=str(tmp_path / "first"), LEDGER_PARTITIONS="2")
    shell.run("migrate")

    refused = shell.run("backup", "back-up")
    taken = shell.run("backup", "back-up", "--partition", "1")
    second = {"LEDGER_DATA_DIR": str(tmp_path / "second")}
    restored = shell.run("restore", "back-up", **second)
    rest = [shell.run(*words, **second) for words in (["recover", "--skip", "5"], ["audit", "verify"])]

    assert (refused.returncode, taken.returncode, restored.returncode) == (2, 0, 0), taken.stderr + restored.stderr
    assert "name the one that is meant" in refused.stderr
    assert "Only schema ledger_1 was recovered and audited." in restored.stderr
    assert [run.returncode for run in rest] == [0, 0], rest
