"""Which DDL migrations may use, and which comments they need."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from ledger.domain.events import EVENT_BY_TOPIC
from ledger.store.migrations.older_parts import FORM, Beside, said_in
from tests.structure.database.test_sql import without_comments
from tests.structure.tree import MIGRATIONS, over


def nameless(ddl: str) -> list[str]:
    """The checks, keys, constraints and indexes without a name of their own."""
    text = re.sub(r"\s+", " ", without_comments(ddl))
    text = re.sub(r"'[^']*'", "''", text)
    named_away = re.sub(
        r"\bCONSTRAINT \w+ (?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY|EXCLUDE)\b"
        r"|\bCREATE (?:UNIQUE )?INDEX (?!ON\b)\w+ ON\b",
        "",
        text,
    )
    kinds = r"\b(?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY|EXCLUDE|REFERENCES|CREATE (?:UNIQUE )?INDEX)\b[^,;]{0,40}"
    return re.findall(kinds, named_away)


@over(MIGRATIONS)
def test_every_check_key_and_index_has_a_name(path: Path) -> None:
    """Errors, plans and later migrations refer to them by name."""
    assert nameless(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (id bigint PRIMARY KEY)",
        "CREATE TABLE t (id bigint, CHECK (id > 0))",
        "CREATE TABLE t (id bigint UNIQUE)",
        "CREATE TABLE t (id bigint REFERENCES u (id))",
        "CREATE INDEX ON t (id)",
        "CREATE UNIQUE INDEX ON t (id)",
        "ALTER TABLE t ADD UNIQUE (id)",
    ],
)
def test_a_nameless_constraint_is_found(ddl: str) -> None:
    """The rule covers tables, columns and indexes."""
    assert nameless(ddl)


@over(MIGRATIONS)
def test_the_schema_can_be_moved_to_another_node(path: Path) -> None:
    """No triggers, sequences, inheritance, foreign keys, functions or other schemas, and no clock as a default."""
    ddl = without_comments(path.read_text("utf-8"))
    banned = (
        r"\b(?:TRIGGER|RULE|INHERITS|SERIAL|BIGSERIAL|SEQUENCE|GENERATED|REFERENCES|FOREIGN KEY|FUNCTION|PROCEDURE"
        r"|CREATE TYPE|DOMAIN|EXTENSION)\b|DEFAULT\s+(?:now|clock_timestamp|current_\w+|nextval|gen_random_uuid)"
    )

    assert re.findall(banned, ddl, re.IGNORECASE) == []
    assert re.findall(r"\b(?:TABLE|ON|INTO|UPDATE)\s+\w+\.\w+", ddl) == []


@over(MIGRATIONS)
def test_every_table_has_a_primary_key_and_says_what_it_is_for(path: Path) -> None:
    """Each table has a comment above it and a named primary key."""
    lines = path.read_text("utf-8").splitlines()
    tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", path.read_text("utf-8"), re.DOTALL)

    assert [table for table, body in tables if f"CONSTRAINT {table}_pkey PRIMARY KEY" not in body] == []
    assert [line for above, line in pairwise(lines) if re.match("CREATE ", line) and not above.startswith("--")] == []


# --- what a migration says about the parts of an older program -------------------------------------------------------


def events_in(text: str) -> list[str]:
    """The events, `topic` or `topic/version`, that programs without the migration cannot read."""
    found = re.search(r"^-- events: (.+(?:\n--   .+)*)$", text, re.MULTILINE)
    return [] if found is None else re.split(r",\s+(?:--   )?", found[1].replace("\n--  ", ""))


def breaks_readers(ddl: str) -> bool:
    """Whether statements take away something that an older program may use."""
    return re.search(r"\b(?:RENAME|DROP (?:TABLE|COLUMN)|SET NOT NULL|ALTER COLUMN \w+ TYPE)\b", ddl) is not None


@over(MIGRATIONS)
def test_a_migration_says_which_older_parts_may_run_beside_it(path: Path) -> None:
    """In a form that the program reads: `yes`, the parts, or `no`, and why."""
    said = said_in(path.read_text("utf-8"))

    assert said is not None, "-- beside: yes; or the parts that may run, or no, then a colon and the reason"
    assert FORM.fullmatch(said), said


@over(MIGRATIONS)
def test_no_older_part_may_run_where_something_is_taken_away(path: Path) -> None:
    """It would go on using what has another name, or is gone."""
    text = path.read_text("utf-8")

    assert not breaks_readers(without_comments(text)) or Beside.of(said_in(text)).parts == ()


@over(MIGRATIONS)
def test_an_older_projector_may_not_run_where_there_are_new_events(path: Path) -> None:
    """It stops at the first event that it cannot read, and goes on leading."""
    text = path.read_text("utf-8")

    assert path.name == "0001.store.sql" or not events_in(text) or Beside.of(said_in(text)).bars({"projector"})


def test_every_event_came_with_a_migration() -> None:
    """So a program that writes a new event marks the store. Such a migration may have no statement."""
    told = sorted(event for path in MIGRATIONS for event in events_in(path.read_text("utf-8")))
    versions = {
        f"{topic}/{version}" if version > 1 else topic
        for topic, event in EVENT_BY_TOPIC.items()
        for version in range(1, event.VERSION + 1)
    }

    assert told == sorted(versions)


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t DROP COLUMN c",
        "DROP TABLE t",
        "ALTER TABLE t ALTER COLUMN c TYPE int",
    ],
)
def test_what_is_taken_away_is_found(ddl: str) -> None:
    """The rule covers tables and columns."""
    assert breaks_readers(ddl)
