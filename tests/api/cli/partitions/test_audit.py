"""The audit over several partitions: each is proven, and one digest over all of them can be kept elsewhere."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.audit.verify import verify_seals
from ledger.partition.partition import Partition, Partitions
from tests.api.cli.shell import Shell, as_owner, project, shell_of
from tests.support.databases import fresh_partitions
from tests.support.ledgers.deposits import deposits


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


@pytest.mark.usefixtures("second")
def test_all_partitions_are_proven(two: Partitions, two_shell: Shell) -> None:
    """In order, with the report of each; the digest over them is that of the checkpoint."""
    everything, seals_only = (
        two_shell.run("audit", "verify", "--json"),
        two_shell.run("audit", "verify", "--seals-only"),
    )
    checkpoint = two_shell.run("audit", "checkpoint", "--json")

    report = decoded(everything.stdout)
    assert [run.returncode for run in (everything, seals_only, checkpoint)] == [0, 0, 0]
    assert (report["ok"], [each["partition"] for each in report["partitions"]]) == (True, [0, 1])
    assert report["events"] == sum(each["events"] for each in report["partitions"]) > 0
    assert [each["digest"] for each in report["partitions"]] == [verify_seals(p.database).digest for p in two]
    assert report["digest"] == decoded(checkpoint.stdout)["digest"]
    assert f"digest of all {report['digest']}" in seals_only.stdout


def test_an_error_in_one_partition_is_the_ledgers(two_shell: Shell, second: Partition) -> None:
    """The others are checked all the same, and the wrong one is named."""
    as_owner(second.database, "UPDATE account_balance SET posted_minor = posted_minor + 1")

    whole, for_people = two_shell.run("audit", "verify", "--json"), two_shell.run("audit", "verify")
    first, other = [two_shell.run("audit", "verify", "--partition", n) for n in "01"]

    report = decoded(whole.stdout)
    assert [run.returncode for run in (whole, for_people, first, other)] == [1, 1, 0, 1]
    assert [each["ok"] for each in report["partitions"]] == [True, False]
    assert "account_balance has {'posted_minor': " in report["partitions"][1]["errors"][0]["what"]
    assert "Not all partitions are as they have to be: 1; " in for_people.stdout


def test_a_log_that_cannot_be_read_does_not_keep_the_others_from_being_proven(
    two: Partitions, two_shell: Shell, second: Partition
) -> None:
    """Its report says so, at position 0."""
    as_owner(two.first.database, "DELETE FROM log_head")

    report = decoded(two_shell.run("audit", "verify", "--seals-only", "--json").stdout)

    assert [each["ok"] for each in report["partitions"]] == [False, True]
    assert report["partitions"][0]["errors"] == [{"position": 0, "what": "the head is missing"}]
    assert report["partitions"][1]["digest"] == verify_seals(second.database).digest


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("words", [["--from", "2"], ["--to", "3"], ["--expect", f"1:{'a' * 64}"]])
def test_a_part_of_a_log_is_one_partitions(two_shell: Shell, words: list[str]) -> None:
    """Positions belong to a partition, so a name is needed."""
    refused = two_shell.run("audit", "verify", *words)
    named = two_shell.run("audit", "verify", *words, "--partition", "1", "--json")

    assert (refused.returncode, named.returncode) == (2, 1 if "--expect" in words else 0)
    assert "The ledger has 2 partitions: name the one that is meant, with --partition from 0 to 1." in refused.stderr
    assert list(decoded(named.stdout)) == ["ok", "events", "position", "digest", "errors"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_checkpoint_is_lines_and_their_digest(tmp_path: Path, postgres_url: str, count: int) -> None:
    """Anybody can compute it, and both forms are taken by a later audit."""
    with fresh_partitions(postgres_url, count) as partitions:
        shell = shell_of(tmp_path, partitions)
        for partition in partitions:
            deposits(partition, 2)
        text, as_json = shell.run("audit", "checkpoint").stdout, shell.run("audit", "checkpoint", "--json").stdout
        (tmp_path / "text").write_text(text)
        (tmp_path / "json").write_text(as_json)
        for partition in partitions:
            deposits(partition, 1)
        taken = [shell.run("audit", "verify", "--seals-only", "--expect-checkpoint", name) for name in ("text", "json")]

        *lines, last = text.splitlines(keepends=True)
        assert last == f"digest {hashlib.sha256(''.join(lines).encode()).hexdigest()}\n"
        assert [line.split()[1] for line in lines] == [str(number) for number in range(count)]
        assert [run.returncode for run in taken] == [0, 0]


def test_a_partition_that_was_cut_is_found_by_a_checkpoint(two_shell: Shell, second: Partition, tmp_path: Path) -> None:
    """Its log agrees with itself, and lacks a position that was noted."""
    (tmp_path / "kept").write_text(two_shell.run("audit", "checkpoint").stdout)
    as_owner(second.database, "DELETE FROM events WHERE notification_id = (SELECT position FROM log_head)")
    as_owner(
        second.database,
        "UPDATE log_head SET position = position - 1,"
        " digest = (SELECT digest FROM events WHERE notification_id = log_head.position - 1)",
    )

    without = two_shell.run("audit", "verify", "--seals-only")
    found = two_shell.run("audit", "verify", "--seals-only", "--expect-checkpoint", "kept", "--json")

    assert (without.returncode, found.returncode) == (0, 1)
    audits = decoded(found.stdout)["partitions"]
    assert [each["ok"] for each in audits] == [True, False]
    assert "the log no longer has this position" in audits[1]["errors"][0]["what"]


@pytest.mark.usefixtures("second")
def test_a_checkpoint_that_does_not_fit_is_refused(two_shell: Shell, tmp_path: Path, postgres_url: str) -> None:
    """Of another ledger, of another number of partitions, changed, or of another form."""
    text = two_shell.run("audit", "checkpoint").stdout
    with fresh_partitions(postgres_url, 2) as other:
        strange = shell_of(tmp_path, other).run("audit", "checkpoint").stdout
    first_line = text.splitlines()[0] + "\n"
    contents = {
        "is of store": strange,
        "is of a ledger with 1 partitions": f"{first_line}digest {hashlib.sha256(first_line.encode()).hexdigest()}\n",
        "was changed": text.replace(" 1 ", " 1 1", 1),
        "is not a checkpoint": "{}",
        "as `payment-ledger audit checkpoint` prints them": text.replace("digest ", "sum "),
    }
    for because, content in contents.items():
        (tmp_path / "kept").write_text(content)
        ended = two_shell.run("audit", "verify", "--seals-only", "--expect-checkpoint", "kept")

        assert (ended.returncode, because in ended.stderr) == (1, True), (because, ended.stderr)


@pytest.mark.usefixtures("second")
def test_the_books_of_all_partitions_are_added_up(two: Partitions, two_shell: Shell) -> None:
    """Each balances by itself, and the sums balance too."""
    books = two_shell.run("audit", "trial-balance", "--json")
    for_people = two_shell.run("audit", "trial-balance")

    seen = decoded(books.stdout)
    (dollars,) = seen["currencies"]
    assert (books.returncode, seen["balanced"], for_people.returncode) == (0, True, 0)
    assert [each["partition"] for each in seen["partitions"]] == [0, 1]
    assert (dollars["accounts"], dollars["opening_equity"], dollars["sum"], dollars["entries"]) == (2000, 2000, 0, 2)
    assert "The books balance" in for_people.stdout

    as_owner(two.first.database, "UPDATE account_balance SET posted_minor = posted_minor + 1")
    wrong = two_shell.run("audit", "trial-balance", "--json")
    assert (wrong.returncode, [each["balanced"] for each in decoded(wrong.stdout)["partitions"]]) == (1, [False, True])


@pytest.mark.usefixtures("second")
def test_an_account_is_looked_for_in_its_partition(two_shell: Shell) -> None:
    """By its id, whichever it is."""
    balances = [decoded(two_shell.run("audit", "balance", str(n), "--json").stdout) for n in (1, 2)]

    assert [each["balance"] for each in balances] == [1000, 1000]
