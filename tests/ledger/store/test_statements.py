"""Statements in `.sql` files are found by their names, and comments are kept."""

from pathlib import Path

import pytest

from ledger.store.statements import load_statements


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of its own for each test, because statements are read only once."""
    name = f"statements_of_{request.node.originalname}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / name / "queries.sql").write_text(
        "-- What this file is for is not part of any statement.\n\n"
        "-- name: first\n-- Because of things.\nSELECT 1\n\n"
        "-- name: second_2\nSELECT 'ünï' -- name: inside\n  FROM log_head\n\n\n",
        encoding="utf-8",
    )
    return name


def test_each_statement_is_found_by_its_name(package: str) -> None:
    """It extends from the line below its name to the next name, without blank lines around it."""
    statements = load_statements(package, "queries.sql")

    assert dict(statements) == {
        "first": "-- Because of things.\nSELECT 1",
        "second_2": "SELECT 'ünï' -- name: inside\n  FROM log_head",
    }


def test_statements_are_read_once_and_cannot_be_changed(package: str) -> None:
    """No code can replace a statement while the program runs."""
    statements = load_statements(package, "queries.sql")

    assert statements is load_statements(package, "queries.sql")
    with pytest.raises(TypeError):
        statements["first"] = "DROP TABLE events"  # type: ignore[index]


def test_a_file_that_is_missing_is_noticed_at_once(package: str) -> None:
    """It is noticed when the program starts, and not when the statement is first needed."""
    with pytest.raises(FileNotFoundError):
        load_statements(package, "nothing.sql")


def test_an_unknown_name_is_a_key_error(package: str) -> None:
    """A misspelt name does not give an empty statement."""
    with pytest.raises(KeyError):
        load_statements(package, "queries.sql")["third"]
