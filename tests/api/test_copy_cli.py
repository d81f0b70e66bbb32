"""A ledger that moves house: exported, imported and taken over from the command line, and the same afterwards."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import asdict

from ledger.audit import verify_seals
from ledger.audit_export import export_to_file
from ledger.commands import OpenAccount, RecordGatewayOutcome, RequestDeposit, Succeed
from ledger.database import Database
from ledger.writer import Writer
from projections.rebuild import rebuild
from projections.tables import TABLES
from tests.api.test_cli import Shell, project
from tests.databases import fresh_ledger
from tests.ledger.busy_ledger import EVENTS, OPEN_PAYMENTS, fill

COMMAND: Final = [sys.executable, "-m", "api.cli", "audit"]
PATIENCE_SECONDS: Final = 120.0


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Give a running writer of the ledger that is to move."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def shell(tmp_path: Path, database: Database) -> Shell:
    """Give a shell whose settings name the ledger that is to move."""
    return Shell(tmp_path, DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema)


@pytest.fixture
def copy(postgres_url: str) -> Iterator[Database]:
    """Give an empty store."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def there(tmp_path: Path, copy: Database) -> Shell:
    """Give a shell whose settings name the store to which it moves."""
    return Shell(tmp_path, DATABASE_URL=copy.url, LEDGER_SCHEMA=copy.schema)


def read_models(database: Database) -> dict[str, list[Any]]:
    """Give all rows of all read models, as text and in order."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        return {
            table: connection.execute(f"SELECT {table}::text FROM {table} ORDER BY 1".encode()).fetchall()
            for table in TABLES
        }


def test_a_ledger_moves_house(shell: Shell, there: Shell, database: Database, copy: Database, writer: Writer) -> None:
    """A file, a copy that can be read and takes no payments, and then the same ledger in charge elsewhere."""
    fill(writer)
    project(database)

    exported = json.loads(shell.run("audit", "export", "log.ndjson", "--json").stdout)
    head = f"{exported['position']}:{exported['digest']}"
    imported = there.run("audit", "import", "log.ndjson", "--expect", head, "--json")
    again = there.run("audit", "import", "log.ndjson")
    withheld = json.loads(there.run("status", "--json").stdout)
    project(copy)
    verified = there.run("audit", "verify", "--expect", head, "--json")
    taken_over = there.run("audit", "import", "--take-over", "--json")
    twice = there.run("audit", "import", "--take-over")
    in_charge = there.run("audit", "verify", "--json")

    assert (exported["written"], exported["position"]) == (EVENTS, EVENTS)
    assert json.loads(imported.stdout) == {
        "imported": {
            "ledger_id": exported["ledger_id"],
            "events": EVENTS,
            "position": EVENTS,
            "digest": exported["digest"],
        }
    }
    assert (again.returncode, "only be imported into an empty store" in again.stderr) == (1, True)
    assert "this is a copy of the ledger that was not taken over" in withheld["wrong"][0]
    assert read_models(database) == read_models(copy)
    assert json.loads(verified.stdout) == asdict(verify_seals(database)) == json.loads(in_charge.stdout)
    assert json.loads(taken_over.stdout)["taken_over"]["open_payments"] == OPEN_PAYMENTS
    assert (twice.returncode, "no copy that waits" in twice.stderr) == (1, True)


def test_a_ledger_moves_through_a_pipe(shell: Shell, there: Shell, database: Database, writer: Writer) -> None:
    """From one machine to another, without a file, and takes over at once."""
    fill(writer)

    exporting = subprocess.Popen(
        [*COMMAND, "export", "-"], cwd=shell.directory, env=shell.environment, stdout=subprocess.PIPE
    )
    with exporting:
        importing = subprocess.run(
            [*COMMAND, "import", "-", "--take-over"],
            cwd=there.directory,
            env=there.environment,
            stdin=exporting.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    files = there.run("audit", "export", "one.ndjson"), shell.run("audit", "export", "other.ndjson")

    assert (exporting.returncode, importing.returncode) == (0, 0), importing.stderr
    assert f"Imported {EVENTS} events of ledger " in importing.stdout
    assert verify_seals(database).digest in importing.stdout
    assert f"{OPEN_PAYMENTS} payments go on to the gateway" in importing.stdout
    assert [file.returncode for file in files] == [0, 0]
    assert f"Wrote {EVENTS} events; one.ndjson has all {EVENTS} of ledger " in files[0].stdout
    assert (there.directory / "one.ndjson").read_bytes() == (shell.directory / "other.ndjson").read_bytes()


@pytest.mark.parametrize("by", ["take-over", "nothing"])
def test_an_import_alone_says_what_is_to_be_done(there: Shell, shell: Shell, by: str) -> None:
    """People are told that the store is a copy until it is taken over."""
    shell.run("audit", "export", "log.ndjson")

    ended = there.run("audit", "import", "log.ndjson", *(["--take-over"] if by == "take-over" else []))

    assert ended.returncode == 0
    assert ("This store is in charge now" in ended.stdout) == (by == "take-over")
    assert ("takes no payments before" in ended.stdout) == (by == "nothing")


def test_a_bent_export_is_refused_at_its_line(there: Shell, database: Database, writer: Writer) -> None:
    """With what is wrong with it, and nothing is imported."""
    fill(writer)
    file = there.directory / "log.ndjson"
    export_to_file(database, file)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[76] = lines[76].replace(b"minor", b"minus")
    file.write_bytes(b"".join(lines))

    ended = there.run("audit", "import", "log.ndjson")
    verified = there.run("audit", "verify", "--json")

    assert ended.returncode == 1
    assert "line=77" in ended.stderr
    assert "does not fit" in ended.stderr
    assert verified.stdout.startswith('{"ok":true,"events":0')


@pytest.mark.parametrize("words", [["export", "nowhere/log.ndjson"], ["export", "/proc/self/nothing"]])
def test_a_file_that_cannot_be_written_is_named(shell: Shell, words: list[str]) -> None:
    """With what the system says about it."""
    ended = shell.run("audit", *words)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{words[1]}: No such file or directory")


# --- many events -----------------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_when(shell: Shell, *words: str, condition: Callable[[], bool]) -> bool:
    """Start a command and kill it as soon as something is the case; whether it was still running."""
    with subprocess.Popen([*COMMAND, *words], cwd=shell.directory, env=shell.environment) as process:
        wait_until(lambda: condition() or process.poll() is not None)
        killed = process.poll() is None
        process.kill()
    return killed


def settle(writer: Writer, payments: int) -> None:
    """Let payments be requested and settled, four events each."""
    for number in range(100):
        writer.submit(OpenAccount(command_id="o", opening=Decimal(number), currency="USD")).result(PATIENCE_SECONDS)
    asked = [
        writer.submit(
            RequestDeposit(
                command_id="d",
                account_id=number % 100 + 1,
                amount=Decimal(number % 977 + 1),
                fee_rate_ppm=20_000,
                idempotency_key=str(number),
            )
        )
        for number in range(payments)
    ]
    settled = []
    for future in asked:
        payment = future.result(PATIENCE_SECONDS)
        settled.append(
            writer.submit(
                RecordGatewayOutcome(
                    command_id="g",
                    payment_id=payment.payment_id,
                    account_id=payment.account_id,
                    seen_version=1,
                    series=1,
                    attempt=1,
                    gateway_key=f"payment-{payment.payment_id}",
                    outcome="approved",
                    then=Succeed(),
                )
            )
        )
    for answered in settled:
        answered.result(PATIENCE_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_100_000_events_come_out_the_same_through_kills(
    shell: Shell, there: Shell, database: Database, copy: Database
) -> None:
    """An export is killed and continued, an import is killed and made again: digests and read models are identical."""
    writer = Writer(database, queue_max=100_000)
    writer.start()
    settle(writer, 25_000)
    writer.stop()
    file = shell.directory / "log.ndjson"

    killed = kill_when(
        shell, "export", "log.ndjson", condition=lambda: file.exists() and file.stat().st_size > 10_000_000
    )
    cut = file.stat().st_size
    continued = json.loads(shell.run("audit", "export", "log.ndjson", "--json").stdout)
    whole = shell.directory / "whole.ndjson"
    export_to_file(database, whole)
    import_killed = kill_when(there, "import", "log.ndjson", condition=lambda: is_importing(copy))
    imported = there.run("audit", "import", "log.ndjson")
    rebuild(database)
    rebuild(copy)
    verified = there.run("audit", "verify", "--json")

    assert killed
    assert cut < file.stat().st_size
    assert continued["position"] >= 100_000
    assert 0 < continued["written"] < continued["position"]
    assert file.read_bytes() == whole.read_bytes()
    assert import_killed
    assert imported.returncode == 0, imported.stderr
    assert json.loads(verified.stdout) == asdict(verify_seals(database))
    assert read_models(database) == read_models(copy)


def is_importing(database: Database) -> bool:
    """Whether an import has begun to write, though nobody sees it yet."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        row = connection.execute("SELECT pg_relation_size('events') > 1000000").fetchone()
    return row == (True,)
