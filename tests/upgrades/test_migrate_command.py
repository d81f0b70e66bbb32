"""`payment-ledger migrate` as operators use it, and parts that start on a newer store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from ledger.store.database import Database
from ledger.store.migrate import migrations
from tests.support.databases import execute, remove
from tests.support.waiting import wait_until
from tests.upgrades.program import Program

LAST: Final = migrations()[-1]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Database]:
    """Give a schema that does not exist yet, and drop it afterwards."""
    database = Database(postgres_url, f"test_{uuid4().hex[:16]}")
    try:
        yield database
    finally:
        remove(database)


@pytest.fixture
def program(tmp_path: Path, store: Database) -> Program:
    """Give this program, with settings for the store."""
    return Program(tmp_path, DATABASE_URL=store.url, LEDGER_SCHEMA=store.schema)


def test_the_plan_shows_what_is_missing_and_applies_nothing(program: Program, store: Database) -> None:
    """With the words of each migration, for people and for machines."""
    shown, told = program.run("migrate", "--plan"), program.run("migrate", "--plan", "--json")

    assert (shown.returncode, told.returncode) == (0, 0)
    assert f"  {LAST.id}: {LAST.beside.words}\n" in shown.stdout
    assert json.loads(told.stdout)["missing"] == [migration.id for migration in migrations()]
    assert json.loads(told.stdout)["beside"][LAST.id] == LAST.beside.words
    assert execute(store, f"SELECT to_regnamespace('{store.schema}')", owner=True) == [(None,)]


def test_the_migration_says_what_may_run_beside_it(program: Program) -> None:
    """And the plan is empty afterwards."""
    migrated, planned = program.run("migrate"), program.run("migrate", "--plan")

    assert f"  {LAST.id}: {LAST.beside.words}\n" in migrated.stdout
    assert planned.stdout == "Nothing to apply: the schema is up to date.\n"


def test_a_migration_beside_an_older_part_is_refused_unless_told_otherwise(program: Program, store: Database) -> None:
    """The older part does not stop; the sentence names it and says what to do."""
    assert program.run("migrate").returncode == 0
    execute(store, "DELETE FROM schema_migrations WHERE id = '0005.plain_names'", owner=True)
    execute(store, "INSERT INTO heartbeats VALUES ('worker', 'w-7', clock_timestamp() + interval '9 s')")

    refused = program.run("migrate")

    assert refused.returncode == 1
    assert "waiting_for_older_parts" in refused.stderr
    assert "worker w-7. Stop it" in refused.stderr
    assert "0005.plain_names (no: it renames tables that all parts use)" in refused.stderr


def test_a_part_starts_on_a_newer_store_where_it_may(program: Program, store: Database) -> None:
    """A worker that may runs, and a projector that may not names the migration."""
    assert program.run("migrate").returncode == 0
    execute(store, "INSERT INTO schema_migrations VALUES ('9999.later', now(), 'api, worker: one column')", owner=True)

    with program.part("worker"):
        wait_until(lambda: execute(store, "SELECT part FROM heartbeats") == [("worker",)])
    refused = program.run("projector")

    assert refused.returncode == 1
    assert "9999.later (api, worker: one column)" in refused.stderr
