"""The audit from the command line, as an auditor uses it: real processes, a real Postgres."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from api.cli.audits.group import audit_group
from api.views.stream_history import replay_account
from ledger.audit.verify import verify_seals
from ledger.partition.partition import Partition
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, as_owner, as_url, declined_deposit, project
from tests.support.ledgers.busy import QUEUED, BusyLedger, fill


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
    assert len(errors) == QUEUED
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
        "UPDATE log_head SET position = 1, digest = e.digest, next_payment_sequence = 0"
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
        (["balance", "1", "--at", "2026-11-23"], "2026-11-23T09:30:00Z"),
        (["balance", "1", "--at", "2026-11-23T09:30:00Z", "--position", "1"], "cannot be given together"),
        (["balance", "0"], "0"),
        (["replay", "user", "1"], "user"),
        (["export", "-", "--json"], "--json"),
        (["export", "."], "directory"),
        (["import"], "--take-over"),
        (["import", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_command_is_refused_with_a_sentence(words: list[str], said: str) -> None:
    """And exit code 2, before anything is looked for."""
    ended = CliRunner().invoke(audit_group, words)

    assert ended.exit_code == 2
    assert said in ended.stderr


# --- the books -------------------------------------------------------------------------------------------------------


def test_a_replay_tells_why_a_balance_is_what_it_is(shell: Shell, writer: Writer) -> None:
    """Event by event, with what the account holds after each."""
    ledger = BusyLedger(writer)
    ledger.open()
    payment = ledger.withdraw()
    ledger.call(payment, "declined", ledger.fail)

    for_machines = shell.run("audit", "replay", "account", "1", "--json")
    for_people = shell.run("audit", "replay", "account", "1")

    events = [decoded(line) for line in for_machines.stdout.splitlines()]
    assert (for_machines.returncode, for_people.returncode) == (0, 0)
    assert [(event["topic"], event["after"]["balance"], event["after"]["available"]) for event in events] == [
        ("account.opened", 1000, 1000),
        ("account.funds_held", 1000, 949),
        ("account.hold_released", 1000, 1000),
    ]
    assert "-> balance 1000.00, held 51.00, available 949.00, currency USD" in for_people.stdout


def test_a_replay_tells_how_a_payment_came_to_be_what_it_is(shell: Shell, writer: Writer) -> None:
    """With what the gateway is asked next."""
    ledger = BusyLedger(writer)
    ledger.open()
    payment = ledger.deposit()
    ledger.call(payment, "unknown", ledger.retry)
    ledger.call(payment, "turned_away", ledger.inquire_later, attempt=2)
    ledger.inquire(payment, "no_clear_answer", ledger.inquire_later)

    for_machines = shell.run("audit", "replay", "payment", "1", "--json")
    for_people = shell.run("audit", "replay", "payment", "1")

    after = [decoded(line)["after"] for line in for_machines.stdout.splitlines()]
    assert [(each["state"], each["attempt"], each["in_doubt"], each["next"]) for each in after] == [
        ("new", 0, False, "pay"),
        ("processing", 1, True, "pay"),
        ("processing", 2, True, "inquire"),
        ("processing", 2, True, "inquire"),
        ("in_doubt", 2, True, "inquire"),
    ]
    assert [each["next_at"] is None for each in after] == [False, False, False, False, True]
    assert after[-1]["letter"] == "in_doubt"
    assert "-> state in_doubt, series 1, attempt 2, gateway_key payment-1, in_doubt True" in for_people.stdout


@pytest.mark.parametrize(("subject", "said"), [("payment", "There is no such payment"), ("account", "no such user")])
def test_what_is_not_there_cannot_be_replayed(shell: Shell, subject: str, said: str) -> None:
    """The answer is an error and not an empty history."""
    ended = shell.run("audit", "replay", subject, "7")

    assert (ended.returncode, said in ended.stderr) == (1, True)


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("state = '{'", 3),
        ("originator_version = 7", 6),
        ("(topic, state) = (SELECT topic, state FROM events WHERE notification_id = 1)", 3),
        ("(topic, state) = (SELECT topic, state FROM events WHERE notification_id = 5)", 3),
    ],
)
def test_a_replay_ends_where_an_event_cannot_be_taken(
    shell: Shell, database: Database, writer: Writer, change: str, position: int
) -> None:
    """With its position, and after all that came before it."""
    ledger = BusyLedger(writer)
    ledger.open()
    ledger.call(ledger.withdraw(), "declined", ledger.fail)
    as_owner(database, f"UPDATE events SET {change} WHERE notification_id = 3")

    ended = shell.run("audit", "replay", "account", "1", "--json")

    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 1
    assert f"position={position}," in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("busy")
def test_a_long_replay_is_read_page_by_page(shell: Shell, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account with the long life, whole and in order."""
    monkeypatch.setattr("ledger.application.application.PAGE", 7)

    events = list(replay_account(Partition(database), 5))

    assert [event.version for event in events] == list(range(1, 122))
    assert shell.run("audit", "replay", "account", "5", "--json").stdout.count("\n") == 121


@pytest.mark.usefixtures("busy")
def test_a_balance_is_told_for_any_position_and_time(shell: Shell) -> None:
    """And for now, when neither is given."""
    now = decoded(shell.run("audit", "balance", "1", "--json").stdout)
    first = decoded(shell.run("audit", "balance", "1", "--position", "1", "--json").stdout)
    then = decoded(shell.run("audit", "balance", "1", "--at", first["at"], "--json").stdout)
    for_people = shell.run("audit", "balance", "1", "--position", "1")
    too_early = shell.run("audit", "balance", "2", "--position", "1")
    nobody = shell.run("audit", "balance", "99")

    assert (first["balance"], first["position"]) == (1000, 1)
    assert first == then
    assert now["position"] > 1
    assert "1000.00" in for_people.stdout
    assert (too_early.returncode, "had no account" in too_early.stderr) == (1, True)
    assert (nobody.returncode, "no such user" in nobody.stderr) == (1, True)


@pytest.mark.usefixtures("busy")
def test_the_books_balance_until_somebody_changes_them(shell: Shell, database: Database) -> None:
    """Each currency by itself, and the exit code tells."""
    books = shell.run("audit", "trial-balance", "--json")
    for_people = shell.run("audit", "trial-balance")
    as_owner(database, "UPDATE account_balance SET posted_minor = posted_minor + 1 WHERE account_id = 4")
    spoilt = shell.run("audit", "trial-balance")

    told = decoded(books.stdout)
    assert (books.returncode, for_people.returncode, spoilt.returncode) == (0, 0, 1)
    assert [currency["currency"] for currency in told["currencies"]] == ["JPY", "USD"]
    assert {currency["sum"] for currency in told["currencies"]} == {0}
    assert all(currency["customers"] == -currency["accounts"] for currency in told["currencies"])
    assert "The books balance" in for_people.stdout
    assert "The books do not balance" in spoilt.stdout


def test_who_may_not_compare_the_read_models_may_still_check_the_seals(
    tmp_path: Path, database: Database, writer: Writer
) -> None:
    """The whole proof makes tables. The refusal tells other roles who may run it."""
    BusyLedger(writer).open()
    guest = f"guest_{uuid4().hex[:12]}"
    as_owner(database, f"CREATE ROLE {guest} LOGIN")
    as_owner(database, f"GRANT {database.service_role} TO {guest}")
    as_owner(database, f"GRANT USAGE ON SCHEMA {database.schema} TO {guest}")
    as_owner(database, f"GRANT SELECT ON schema_migrations TO {guest}")
    url = as_url(make_conninfo(database.url, user=guest))
    shell = Shell(tmp_path, DATABASE_URL=url, LEDGER_SCHEMA=database.schema)
    try:
        seals_only = shell.run("audit", "verify", "--seals-only")
        everything = shell.run("audit", "verify")
    finally:
        as_owner(database, f"DROP OWNED BY {guest}")
        as_owner(database, f"DROP ROLE {guest}")

    assert seals_only.returncode == 0, seals_only.stderr
    assert everything.returncode == 1
    assert "This is for the schema's owner" in everything.stderr
    assert "Traceback" not in everything.stderr
