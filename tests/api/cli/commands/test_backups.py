"""`backup` and `restore`: the words for people, and refusals on the command line."""

from pathlib import Path

from ledger.store.database import Database
from tests.api.cli.shell import Shell


def test_a_back_up_is_taken_and_restored_by_hand(tmp_path: Path) -> None:
    """Each says plainly how the back-up was checked, whether WAL is archived, and what the audit has found."""
    shell = Shell(tmp_path, LEDGER_DATA_DIR=str(tmp_path / "first"))
    shell.run("migrate")

    taken = shell.run("backup", "back-up")
    restored = shell.run("restore", "back-up", LEDGER_DATA_DIR=str(tmp_path / "second"))
    again = shell.run("restore", "back-up", LEDGER_DATA_DIR=str(tmp_path / "second"))

    assert (taken.returncode, restored.returncode, again.returncode) == (0, 0, 1), taken.stderr + restored.stderr
    assert "has checked it." in taken.stdout or "pg_verifybackup could not check it" in taken.stdout
    assert "This server archives no WAL" in taken.stdout
    assert "All is as it has to be: 1 events up to position 1." in restored.stdout
    assert "second has a ledger" in again.stderr


def test_a_server_of_ones_own_is_not_restored(shell: Shell, database: Database) -> None:
    """The refusal says what to do instead, and nothing is touched."""
    ended = shell.run("restore", "back-up")

    assert ended.returncode == 2
    assert "payment-ledger recover" in ended.stderr
    assert database.schema not in ended.stderr


def test_a_moment_has_an_offset(shell: Shell) -> None:
    """A time without one means another moment on another machine."""
    ended = shell.run("restore", "back-up", "--to", "2026-11-23T09:30:00")

    assert (ended.returncode, "--to" in ended.stderr) == (2, True)
