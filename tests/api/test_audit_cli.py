"""The audit from the command line, as an auditor uses it: real processes, a real Postgres."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api.audit_cli import audit
from ledger.audit import verify_seals
from ledger.database import Database
from ledger.writer import Writer
from tests.api.test_cli import Shell, as_owner, declined_deposit, project
from tests.ledger.busy_ledger import OPEN_PAYMENTS, BusyLedger, fill


@pytest.fixture
def shell(tmp_path: Path, database: Database) -> Shell:
    """Give a shell whose settings name a migrated, empty ledger."""
    return Shell(tmp_path, DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Give a running writer."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def busy(database: Database, writer: Writer) -> BusyLedger:
    """Give a ledger to which a bit of everything has happened, with its read models."""
    ledger = fill(writer)
    project(database)
    return ledger


def decoded(text: str) -> Any:
    return json.loads(text)


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("busy")
def test_a_whole_ledger_is_proven(shell: Shell, database: Database) -> None:
    """Log, accounts, payments, keys, queue, snapshots and read models; the digest is that of the seals alone."""
    everything = shell.run("audit", "verify", "--json")
    seals_only = shell.run("audit", "verify", "--seals-only", "--json")
    part = shell.run("audit", "verify", "--from", "11", "--to", "20", "--json")
    for_people = shell.run("audit", "verify")

    report = decoded(everything.stdout)
    assert [run.returncode for run in (everything, seals_only, part, for_people)] == [0, 0, 0, 0]
    assert list(report) == ["ok", "events", "position", "digest", "errors"]
    assert report == decoded(seals_only.stdout)
    assert report["digest"] == verify_seals(database).digest
    assert (decoded(part.stdout)["events"], decoded(part.stdout)["position"]) == (10, 20)
    assert "All is as it has to be" in for_people.stdout
    assert report["digest"] in for_people.stdout


@pytest.mark.usefixtures("busy")
def test_what_follows_from_the_log_is_proven_too(shell: Shell, database: Database) -> None:
    """A read model, a queue entry: the seals alone would not tell."""
    as_owner(database, "UPDATE account_balance SET posted_minor = posted_minor + 1 WHERE account_id = 2")

    read_model = shell.run("audit", "verify")
    as_owner(database, "UPDATE gateway_queue SET attempt = attempt + 1")
    queue = shell.run("audit", "verify", "--json")
    seals_only = shell.run("audit", "verify", "--seals-only")

    assert (read_model.returncode, queue.returncode, seals_only.returncode) == (1, 1, 0)
    assert "account_balance has {'posted_minor': " in read_model.stdout
    assert "the books in USD do not balance" in read_model.stdout
    assert "first at position " in read_model.stdout
    errors = decoded(queue.stdout)["errors"]
    assert len(errors) == OPEN_PAYMENTS
    assert [error["position"] for error in errors] == sorted(error["position"] for error in errors)


@pytest.mark.parametrize("more", [[], ["--seals-only"]])
def test_a_changed_event_is_named(shell: Shell, database: Database, writer: Writer, more: list[str]) -> None:
    """And the exit code says that not all is well."""
    declined_deposit(writer)
    as_owner(database, "UPDATE events SET state = state || ' '::bytea WHERE notification_id = 2")

    for_machines = shell.run("audit", "verify", "--json", *more)
    for_people = shell.run("audit", "verify", *more)

    assert (for_machines.returncode, for_people.returncode) == (1, 1)
    assert [error["position"] for error in decoded(for_machines.stdout)["errors"]] == [2]
    assert "position 2" in for_people.stdout


@pytest.mark.parametrize("more", [[], ["--seals-only"]])
def test_a_noted_head_reveals_a_log_that_was_cut(
    shell: Shell, database: Database, writer: Writer, more: list[str]
) -> None:
    """As `verify` told it before, with a colon between."""
    declined_deposit(writer)
    noted = decoded(shell.run("audit", "verify", "--json").stdout)
    head = f"{noted['position']}:{noted['digest']}"
    before = shell.run("audit", "verify", "--expect", head, *more)
    as_owner(database, "DELETE FROM events WHERE notification_id > 1")
    as_owner(database, "DELETE FROM gateway_queue")
    as_owner(
        database,
        "UPDATE head SET position = 1, digest = e.digest, next_payment_sequence = 0"
        " FROM events AS e WHERE e.notification_id = 1",
    )
    unnoted = shell.run("audit", "verify", *more)
    after = shell.run("audit", "verify", "--expect", head, "--expect", f"0:{'00' * 32}", "--json", *more)

    assert (before.returncode, unnoted.returncode, after.returncode) == (0, 0, 1)
    assert [error["position"] for error in decoded(after.stdout)["errors"]] == [0, noted["position"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "--expect", "7"], "POSITION:DIGEST"),
        (["verify", "--expect", f"7:{'0' * 63}"], "POSITION:DIGEST"),
        (["verify", "--from", "0"], "--from"),
        (["verify", "--from", "3", "--to", "2"], "--to has to be at least --from"),
    ],
)
def test_a_wrong_command_is_refused_with_a_sentence(words: list[str], said: str) -> None:
    """And exit code 2, before anything is looked for."""
    ended = CliRunner().invoke(audit, words)

    assert ended.exit_code == 2
    assert said in ended.stderr
