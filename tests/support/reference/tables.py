"""The reference page of tables: the contents of a migrated schema, with the comments of the migrations."""

import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg

import ledger.store
from ledger.audit.check_bounds import Coverage
from ledger.store.database import Database
from ledger.store.statements import load_statements
from projections.engine.verify import covered_columns
from tests.support.reference.markdown import code, page, table

SQL: Final = load_statements("tests.support.reference", "tables.sql")
MIGRATIONS: Final = Path(ledger.store.__file__).parent / "migrations"

INTRODUCTION: Final = """\
The tables of one ledger, as `payment-ledger migrate` leaves them in its schema (`LEDGER_SCHEMA`). Columns, keys and
rights are read from the catalogue of a migrated database, descriptions from the comments of the migrations in
`ledger/store/migrations/`. `schema_migrations` lists the migrations that the schema has.

The service works as the role `<schema>_service`. *The service may* lists all its rights on a table; the schema's owner
may do everything.

*The audit* says how `payment-ledger audit verify` covers each column: it is recomputed from the seals or the events,
it must be within a bound, or it is free, with the reason."""

_STATEMENT: Final = re.compile(r"(?P<comment>(?:^--[^\n]*\n)*)^(?P<statement>(?:CREATE|ALTER)[^;]*;)", re.MULTILINE)
_MADE: Final = re.compile(r"CREATE (?:TABLE|(?:UNIQUE )?INDEX) (?P<name>\w+)")
_RENAMED: Final = re.compile(r"ALTER (?:TABLE|INDEX) (?P<old>\w+) RENAME TO (?P<new>\w+)")


def tables_page(database: Database) -> str:
    """Write the page, from a database that was just migrated."""
    comments = migration_comments(path.read_text("utf-8") for path in sorted(MIGRATIONS.glob("*.sql")))
    with closing(database.connect(application="payment-ledger reference", owner=True)) as connection:
        columns = _by_table(connection, "read_columns", database)
        constraints = _by_table(connection, "read_constraints", database)
        indexes = _by_table(connection, "read_indexes", database)
        rights = _by_table(connection, "read_rights", database)
    sections = []
    for name in sorted(columns):
        pieces = [f"## {name}", comments.get(name, ""), _columns_table(name, columns[name])]
        pieces.append(f"The service may: {_rights(rights[name])}.")
        if constraints[name]:
            pieces.append(table(["key or check", "definition"], [(code(n), code(d)) for n, d in constraints[name]]))
        if indexes[name]:
            rows = [(code(index), code(definition), comments.get(index, "")) for index, definition in indexes[name]]
            pieces.append(table(["index", "definition", "what for"], rows))
        sections.append("\n\n".join(filter(None, pieces)))
    return page("Tables", INTRODUCTION, sections)


def migration_comments(texts: Iterable[str]) -> dict[str, str]:
    """Give what the migrations say of each table and index, by its latest name."""
    comments: dict[str, str] = {}
    for text in texts:
        for found in _STATEMENT.finditer(text):
            if (made := _MADE.match(found["statement"])) is not None:
                lines = [line.removeprefix("--").strip() for line in found["comment"].splitlines()]
                comments[made["name"]] = " ".join(lines)
            if (renamed := _RENAMED.match(found["statement"])) is not None:
                comments[renamed["new"]] = comments.pop(renamed["old"], "")
    return comments


def _by_table(connection: psycopg.Connection[Any], name: str, database: Database) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    parameters = {"schema": database.schema, "role": database.service_role}
    for of_table, *cells in connection.execute(SQL[name], parameters).fetchall():
        found[of_table].append(_column(*cells) if name == "read_columns" else tuple(cells))
    return found


def _column(name: str, kind: str, not_null: bool, default: str) -> tuple[str, ...]:  # noqa: FBT001 - a column of the row
    return code(name), kind, "" if not_null else "yes", code(default)


def _columns_table(of_table: str, columns: list[tuple[str, ...]]) -> str:
    """The columns of a table, and how the audit covers each."""
    covered = covered_columns()[of_table]
    rows = [(*column, _coverage(covered[column[0].strip("`")])) for column in columns]
    return table(["column", "type", "null", "default", "the audit"], rows)


def _coverage(coverage: Coverage) -> str:
    return f"{coverage.how} {coverage.by}" if coverage.how == "recomputed" else f"{coverage.how}: {coverage.by}"


def _rights(rights: list[tuple[str, ...]]) -> str:
    return ", ".join(right + (f" ({columns})" if columns else "") for right, columns in rights) or "nothing"
