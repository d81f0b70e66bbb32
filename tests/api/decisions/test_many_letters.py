"""Ten thousand dead letters, requeued by one command of the command line: as its list says, also when it is killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from api.operator.verification import verify
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell
from tests.api.decisions.letters import carry_out, deposit, events_of, make_failed, opening, project, withdrawal
from tests.support.databases import execute
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LETTERS: Final = 10_000
USERS: Final = 500
REQUEUED: Final = "SELECT count(*) FROM events WHERE topic = 'payment.requeued'"
DECISION: Final = ("--why", "the bank has lifted its block", "--by", "Ada")


@pytest.fixture
def shell(tmp_path: Path, database: Database, writer: Writer) -> Shell:
    """Give a shell whose ledger has the letters: half of them withdrawals, of which some are not covered any more."""
    carry_out(writer, [opening("200") for _ in range(USERS)])
    for first in range(0, LETTERS, 5_000):
        numbers = range(first, first + 5_000)
        kinds = [withdrawal if number % 2 else deposit for number in numbers]
        make_failed(
            writer, *[kind("10", account_id=1 + number % USERS) for kind, number in zip(kinds, numbers, strict=True)]
        )
    project(database)
    return Shell(tmp_path, DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema, DEMO_GATEWAY="true")


def json_of(ended: "subprocess.CompletedProcess[str]") -> Any:
    """Read what a command has printed."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def requeued(database: Database) -> list[tuple[int, str]]:
    """The payment and the gateway key of each requeue in the log, with who did it and why."""
    found = [each for each in events_of(database) if each["topic"] == "payment.requeued"]
    assert {(each["by"], each["data"]["why"]) for each in found} == {("Ada", DECISION[1])}
    assert all(each["data"]["idempotency"]["key"].startswith("bulk-") for each in found)
    return [(each["data"]["payment_id"], each["data"]["gateway_key"]) for each in found]


def test_ten_thousand_letters_are_requeued_as_the_list_says(
    shell: Shell, database: Database, record_property: Any
) -> None:
    """The list before and the events after are the same, letter by letter; the seconds are printed, and not judged."""
    began = time.monotonic()
    listed = json_of(shell.run("dlq", "plan", "requeue", "--state", "failed", "--json"))
    planned_at = time.monotonic()
    report = json_of(shell.run("dlq", "run", listed["digest"], *DECISION, "--json"))
    ended_at = time.monotonic()

    seconds = {"plan_seconds": planned_at - began, "run_seconds": ended_at - planned_at}
    print({name: round(value, 1) for name, value in seconds.items()})  # noqa: T201 - the measure of a slow test
    record_property("seconds", seconds)
    going = [(each["payment_id"], each["gateway_key"]) for each in listed["items"] if each["refused"] is None]
    assert (listed["letters"], listed["more"]) == (LETTERS, False)
    assert 0 < listed["refused"]["insufficient_funds"] < LETTERS
    assert going == requeued(database)
    assert (report["as_planned"], report["done"]) == (True, len(going))
    assert report["money"] == listed["money"]
    project(database)
    assert verify(database).errors == []


def test_a_run_that_is_killed_is_given_again_and_does_the_rest_once(shell: Shell, database: Database) -> None:
    """SIGKILL after some batches: the same digest goes on, and a third time does nothing."""
    listed = json_of(shell.run("dlq", "plan", "requeue", "--json"))
    words = ("dlq", "run", listed["digest"], *DECISION, "--json")
    killed = subprocess.Popen(
        [sys.executable, "-m", "api.cli", *words],
        cwd=shell.directory,
        env=shell.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: execute(database, REQUEUED)[0][0] > 0)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = listed["going"] - execute(database, REQUEUED)[0][0]

    reports = [json_of(shell.run(*words)), json_of(shell.run(*words))]

    assert 0 < left < listed["going"], "the command was killed in the middle"
    assert [each["as_planned"] for each in reports] == [True, True]
    going = {(each["payment_id"], each["gateway_key"]) for each in listed["items"] if each["refused"] is None}
    assert len(requeued(database)) == len(going)
    assert set(requeued(database)) == going
    project(database)
    assert verify(database).errors == []
