"""`dlq` over several partitions: one list by time, and decisions in the partition of their payment."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.audit.verify import verify_store
from ledger.partition.partition import Partitions
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, declined_deposit, project

DECIDED = ("--why", "it was down", "--by", "Ada")
NO_INQUIRY = {"GATEWAY_INQUIRY": "false"}


@pytest.fixture
def letters(two: Partitions) -> list[int]:
    """Make a dead letter in each partition, that of the second one before that of the first."""
    payments = []
    for partition in reversed([*two]):
        writer = Writer(partition.database, slots=partition.slots)
        writer.start()
        payments.append(declined_deposit(writer))
        writer.stop()
        project(partition.database)
    return payments


def decoded(text: str) -> Any:
    return json.loads(text)


def test_letters_are_listed_by_time(two_shell: Shell, letters: list[int]) -> None:
    """The newest first, whichever partition it is in; a page goes on where the one before ended."""
    whole = decoded(two_shell.run("dlq", "list", "--json").stdout)
    pages = [decoded(two_shell.run("dlq", "list", "--limit", "1", "--offset", n, "--json").stdout) for n in "012"]

    assert letters == [2, 1]
    assert [letter["payment_id"] for letter in whole] == [1, 2]
    assert [[letter["payment_id"] for letter in page] for page in pages] == [[1], [2], []]


@pytest.mark.usefixtures("letters")
def test_a_decision_goes_to_the_partition_of_its_payment(two: Partitions, two_shell: Shell, tmp_path: Path) -> None:
    """Also with an operator's key, which is in the first partition."""
    key = two_shell.run("keys", "create", "Ada", "--scope", "operate").stdout.strip()
    (tmp_path / "key").write_text(key)

    requeued = two_shell.run("dlq", "requeue", "2", *DECIDED, "--key-file", "key", "--json", **NO_INQUIRY)
    resolved = two_shell.run("dlq", "resolve", "1", "--outcome", "failed", *DECIDED, "--json", **NO_INQUIRY)
    shown = decoded(two_shell.run("dlq", "show", "2", "--json").stdout)

    assert (requeued.returncode, resolved.returncode) == (0, 0), requeued.stderr + resolved.stderr
    assert decoded(requeued.stdout)["state"] == "processing"
    assert decoded(resolved.stdout)["state"] == "failed"
    assert shown["events"][-1]["topic"] == "payment.requeued"
    assert shown["events"][-1]["by"].startswith("key:")
    assert [verify_store(partition.database).errors for partition in two] == [[], []]


@pytest.mark.usefixtures("letters")
def test_a_list_of_many_letters_is_of_one_partition(two_shell: Shell) -> None:
    """It is named, or follows from the user whose letters they are."""
    refused = two_shell.run("dlq", "plan", "requeue", **NO_INQUIRY)
    planned = two_shell.run("dlq", "plan", "requeue", "--partition", "1", "--json", **NO_INQUIRY)
    of_user = two_shell.run("dlq", "plan", "requeue", "--user", "2", "--json", **NO_INQUIRY)
    elsewhere = two_shell.run("dlq", "plan", "requeue", "--user", "2", "--partition", "0", **NO_INQUIRY)
    digest = decoded(planned.stdout)["digest"]
    lost = two_shell.run("dlq", "run", digest, *DECIDED, **NO_INQUIRY)
    done = two_shell.run("dlq", "run", digest, *DECIDED, "--partition", "1", "--json", **NO_INQUIRY)

    runs = (refused, planned, of_user, elsewhere, lost, done)
    assert [run.returncode for run in runs] == [2, 0, 0, 2, 2, 0]
    assert refused.stderr == lost.stderr
    assert "The ledger has 2 partitions: name the one that is meant" in refused.stderr
    assert "User 2 is in partition 1." in elsewhere.stderr
    assert [item["payment_id"] for item in decoded(planned.stdout)["items"]] == [2]
    assert [item["payment_id"] for item in decoded(of_user.stdout)["items"]] == [2]
    assert decoded(done.stdout)["done"] == 1


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["approvals"], {}),
        (["approve", "0" * 16, "--by", "Ada"], {}),
        (["reject", "0" * 16, "--by", "Ada"], {}),
        (["resolve", "1", "--outcome", "failed", *DECIDED], {"OPERATE_FOUR_EYES": "true"}),
    ],
)
def test_a_second_key_is_refused_with_a_sentence(
    two_shell: Shell, words: list[str], environment: dict[str, str]
) -> None:
    """Until requests and keys can be in different partitions."""
    ended = two_shell.run("dlq", *words, **environment)

    assert ended.returncode == 1
    assert ended.stderr.startswith("Decisions with a second key (OPERATE_FOUR_EYES) are not possible yet")
