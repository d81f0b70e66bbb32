"""A ledger that moves house: exported, imported and taken over from the command line, and the same afterwards."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import asdict

from ledger.audit.verify import verify_seals
from ledger.domain.commands import OpenAccount, RecordGatewayOutcome, RequestDeposit, Succeed
from ledger.export.exporter import export_to_file
from ledger.store.database import Database
from ledger.writer.writer import Writer
from projections.engine.rebuild import rebuild
from projections.models.registry import TABLES
from tests.api.cli.shell import Shell, project
from tests.support.databases import fresh_ledger
from tests.support.ledgers.busy import EVENTS, OPEN_PAYMENTS, fill
from tests.support.waiting import wait_until

COMMAND: Final = [sys.executable, "-m", "api.cli", "audit"]
PATIENCE_SECONDS: Final = 120.0


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
    inactive = json.loads(there.run("status", "--json").stdout)
    project(copy)
    verified = there.run("audit", "verify", "--expect", head, "--json")
    taken_over = there.run("audit", "import", "--take-over", "--skip", "0", "--json")
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
    assert "this is an imported copy of the ledger that was not activated" in inactive["wrong"][0]
    assert read_models(database) == read_models(copy)
    assert json.loads(verified.stdout) == asdict(verify_seals(database))
    assert json.loads(in_charge.stdout)["ok"]
    assert json.loads(taken_over.stdout)["taken_over"] == {
        "position": EVENTS + 1,
        "digest": json.loads(in_charge.stdout)["digest"],
        "open_payments": OPEN_PAYMENTS,
        "skipped": 0,
    }
    assert (twice.returncode, "only an imported copy can be activated" in twice.stderr) == (1, True)


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
    # The copy's log goes on with the event of the take-over.
    assert f"Wrote {EVENTS} events; other.ndjson has all {EVENTS} of ledger " in files[1].stdout
    here, elsewhere = (
        (each.directory / name).read_bytes().splitlines()
        for each, name in ((shell, "other.ndjson"), (there, "one.ndjson"))
    )
    assert len(elsewhere) == len(here) + 1
    assert here[:-1] == elsewhere[: len(here) - 1]
    assert b'"ledger.recovered"' in elsewhere[-2]


@pytest.mark.parametrize("by", ["take-over", "nothing"])
def test_an_import_alone_says_what_is_to_be_done(there: Shell, shell: Shell, by: str) -> None:
    """People are told that the store is a copy until it is taken over."""
    shell.run("audit", "export", "log.ndjson")

    ended = there.run("audit", "import", "log.ndjson", *(["--take-over"] if by == "take-over" else []))

    assert ended.returncode == 0
    assert ("This store is in charge now" in ended.stdout) == (by == "take-over")
    assert ("takes no payments before" in ended.stdout) == (by == "nothing")


def test_a_gap_goes_with_a_take_over(there: Shell, shell: Shell) -> None:
    """Otherwise the take-over that follows would leave out other numbers than those asked for."""
    shell.run("audit", "export", "log.ndjson")

    refused = there.run("audit", "import", "log.ndjson", "--skip", "0")
    imported = there.run("audit", "import", "log.ndjson")

    assert (refused.returncode, imported.returncode) == (2, 0)
    assert "--skip goes with --take-over" in refused.stderr


def test_a_bent_export_is_refused_at_its_line(there: Shell, database: Database, writer: Writer) -> None:
    """The message says why, and nothing is imported."""
    fill(writer)
    file = there.directory / "log.ndjson"
    export_to_file(database, file)
    lines = file.read_bytes().splitlines(keepends=True)
    bent = next(number for number, line in enumerate(lines) if number >= 70 and b"minor" in line)
    lines[bent] = lines[bent].replace(b"minor", b"minus")
    file.write_bytes(b"".join(lines))

    ended = there.run("audit", "import", "log.ndjson")
    verified = there.run("audit", "verify", "--json")

    assert ended.returncode == 1
    assert f"line={bent + 1}," in ended.stderr
    assert "does not match" in ended.stderr
    assert verified.stdout.startswith('{"ok":true,"events":0')


@pytest.mark.parametrize("words", [["export", "nowhere/log.ndjson"], ["export", "/proc/self/nothing"]])
def test_a_file_that_cannot_be_written_is_named(shell: Shell, words: list[str]) -> None:
    """With what the system says about it."""
    ended = shell.run("audit", *words)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{words[1]}: No such file or directory")


# --- many events -----------------------------------------------------------------------------------------------------


def kill_when(shell: Shell, *words: str, condition: Callable[[], bool]) -> bool:
    """Start a command and kill it as soon as something is the case; whether it was still running."""
    with subprocess.Popen([*COMMAND, *words], cwd=shell.directory, env=shell.environment) as process:
        wait_until(lambda: condition() or process.poll() is not None, within_seconds=PATIENCE_SECONDS)
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
