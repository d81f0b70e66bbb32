"""Statements have a form that a database of several nodes can run, such as Citus with a schema on one of its nodes.

Found by running the service there: a volatile function in an UPDATE or DELETE is refused (0A000), an INSERT from arrays
alone goes through the coordinator, and a forced plan of one is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.database.test_sql import statements, without_comments
from tests.structure.tree import SOURCES, STATEMENTS, over

VOLATILE = r"\b(?:clock_timestamp|timeofday|random|gen_random_uuid|uuidv\d|nextval|setval|set_config|pg_notify)\s*\("
CHANGES_ROWS = r"(?<!\bDO )(?<!\bFOR )(?<!\bNO KEY )\b(?:UPDATE|DELETE)\b"


def volatile_changes(text: str) -> Iterator[str]:
    """The statements of a file that change rows and call a volatile function."""
    for name, statement in statements(text).items():
        body = without_comments(statement)
        if re.search(CHANGES_ROWS, body) and re.search(VOLATILE, body):
            yield name


def unjoined_inserts(text: str) -> Iterator[str]:
    """The statements of a file that insert rows from arrays without a join to a table of the schema."""
    for name, statement in statements(text).items():
        body = re.sub(r"\s+", " ", without_comments(statement))
        from_arrays = re.search(r"INSERT INTO \S+ .*?SELECT .*? FROM unnest\(", body)
        if from_arrays and "CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here" not in body:
            yield name


@over(STATEMENTS)
def test_no_change_of_rows_calls_a_volatile_function(path: Path) -> None:
    """The time is passed, or is that of the transaction, `now()`."""
    assert list(volatile_changes(path.read_text("utf-8"))) == []


@over(STATEMENTS)
def test_every_insert_from_arrays_joins_a_table_of_the_schema(path: Path) -> None:
    """So the node that owns the schema runs it, and a fault of the data keeps its SQLSTATE."""
    assert list(unjoined_inserts(path.read_text("utf-8"))) == []


@over(SOURCES)
def test_no_session_forces_a_kind_of_plan(path: Path) -> None:
    """The statements' own form keeps their plans in check. The embedded server, which is one node, may force it."""
    is_own_server = path.match("api/runtime/embedded_postgres/server_settings.py")
    assert ("force_generic_plan" in path.read_text("utf-8")) == is_own_server


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET at = clock_timestamp() WHERE id = 1",
        "DELETE FROM t WHERE at < clock_timestamp()",
        "WITH old AS (SELECT 1) UPDATE t SET at = clock_timestamp() FROM old",
    ],
)
def test_a_volatile_change_is_found(statement: str) -> None:
    """Also where a statement begins with something else."""
    assert list(volatile_changes(f"-- name: it\n{statement}\n")) == ["it"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET at = now()",
        "SELECT clock_timestamp() FROM t FOR UPDATE",
        "INSERT INTO t (at) VALUES (clock_timestamp()) ON CONFLICT (id) DO UPDATE SET at = EXCLUDED.at",
    ],
)
def test_a_change_without_one_is_allowed(statement: str) -> None:
    """An INSERT may call one, and a lock changes no row."""
    assert list(volatile_changes(f"-- name: it\n{statement}\n")) == []


@pytest.mark.parametrize(
    ("join", "found"),
    [
        ("", ["it"]),
        (" CROSS JOIN (SELECT 1 FROM ledger_identity) AS here", ["it"]),
        (" CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here", []),
    ],
)
def test_an_insert_without_the_join_is_found(join: str, found: list[str]) -> None:
    """The join gives exactly one row, also where the table has none: else an INSERT would silently insert nothing."""
    statement = f"INSERT INTO t (a)\nSELECT a\n  FROM unnest(%(a)s::text[]) AS r (a)\n{join}"

    assert list(unjoined_inserts(f"-- name: it\n{statement}\n")) == found
