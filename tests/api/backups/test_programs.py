"""Programs of Postgres that are there and do not run, or are of another version, are named and left alone."""

from pathlib import Path

import pytest

from api.backups import programs


def program_that(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_program_that_dies_is_named_with_its_signal(folder: Path) -> None:
    """As `pg_verifybackup` of the wheel does."""
    program_that(folder / "pg_made_up", "kill -SEGV $$")

    found = programs.find("pg_made_up", server=18, newer_too=True)

    assert (found.path, found.refused) == (None, [f"{folder}/pg_made_up does not run: it ended with signal 11"])


def test_a_program_of_another_version_is_named(folder: Path) -> None:
    """A newer one may serve, where that is asked for, and an older one never."""
    program_that(folder / "pg_made_up", "echo 'pg_made_up (PostgreSQL) 19.1'")

    assert programs.find("pg_made_up", server=18, newer_too=True).path == folder / "pg_made_up"
    assert programs.find("pg_made_up", server=18, newer_too=False).path is None
    refused = programs.find("pg_made_up", server=20, newer_too=True).refused
    assert refused == [f"{folder}/pg_made_up is of version 19, and the server of 20"]


@pytest.mark.usefixtures("folder")
def test_a_program_that_is_not_there_is_named() -> None:
    """The sentence names the program."""
    found = programs.find("pg_made_up", server=18, newer_too=True)

    assert found.refused == ["there is no pg_made_up on this machine"]


def test_the_back_up_program_is_found() -> None:
    """The wheel has one that runs."""
    assert programs.find("pg_basebackup", server=18, newer_too=True).path is not None
