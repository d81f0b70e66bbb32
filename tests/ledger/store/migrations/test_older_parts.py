"""Which parts of an older program may run beside a migration: the words, the start of a part, and the migration."""

import re
from typing import Final

import pytest

from ledger.errors import SchemaNewer
from ledger.store.database import Database
from ledger.store.heartbeats import FRESH
from ledger.store.migrate import (
    Followers,
    Migration,
    check_schema,
    migrate,
    migrations,
    missing_migrations,
)
from ledger.store.migrations.older_parts import PARTS, Beside, OlderPartsAlive, said_in
from tests.support.databases import execute

LATER: Final = "9999.later"


def later(words: str | None) -> Migration:
    """A migration of a newer program, which says these words."""
    return Migration(LATER, ("CREATE TABLE later ()",), Beside.of(words))


def newer(words: str | None) -> tuple[Migration, ...]:
    """The migrations of a newer program."""
    return (*migrations(), later(words))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("yes", PARTS),
        ("yes: a remark", PARTS),
        ("no: it drops a table", ()),
        ("api: the worker and the projector write the column", ("api",)),
        ("worker, api: the projector stops", ("api", "worker")),
        ("projector: one, two: three", ("projector",)),
        (None, ()),
        ("no", ()),
        ("api, worker", ()),
        ("yes, but", ()),
        ("yes:", ()),
        ("somebody: why", ()),
        ("api worker: why", ()),
        ("", ()),
    ],
)
def test_the_words_name_the_parts_that_may_run(words: str | None, parts: tuple[str, ...]) -> None:
    """Words of an unknown form, such as those of a much newer program, let no part run."""
    assert Beside.of(words).parts == parts


def test_the_words_of_a_migration_are_joined_to_one_line() -> None:
    """The store keeps them for programs that do not have the file."""
    text = "-- Why.\n-- beside: api: the worker\n--   stops\n-- events: a.b\nCREATE TABLE t ();\n"

    assert said_in(text) == "api: the worker stops"
    assert said_in("-- Why.\nCREATE TABLE t ();\n") is None


# --- the start of an older part on a newer store ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "may"),
    [
        ("yes", {"api", "worker", "projector"}),
        ("api, worker: why", {"api", "worker"}),
        ("no: why", set()),
        (None, set()),
    ],
)
def test_a_part_starts_on_a_newer_store_only_where_it_may(empty: Database, words: str | None, may: set[str]) -> None:
    """A refusal names the migration, and says why. With AUTO_CREATE_TABLES it is the same."""
    migrate(empty, known=newer(words))
    refusal = re.escape(f"{LATER} ({words or 'no: it does not say who may'})")

    for part in PARTS:
        if part in may:
            check_schema(empty, (part,))
            assert migrate(empty, parts=(part,)) == []
        else:
            with pytest.raises(SchemaNewer, match=refusal):
                check_schema(empty, (part,))
            with pytest.raises(SchemaNewer, match=refusal):
                migrate(empty, parts=(part,))


def test_a_command_needs_a_store_on_which_every_part_may_run(empty: Database) -> None:
    """A command of the command line is none of the parts, and may do what any of them does."""
    migrate(empty, known=newer("api, worker: why"))

    with pytest.raises(SchemaNewer):
        check_schema(empty)


def test_an_older_program_changes_nothing_in_a_newer_store(empty: Database) -> None:
    """The groups and the rights are those of the newer program."""
    migrate(empty, known=newer("yes"), followers=Followers(tracked={"group": ["old", "new"]}))

    migrate(empty, followers=Followers(tracked={"group": ["old"]}))

    assert execute(empty, "SELECT models FROM projection_tracking") == [(["old", "new"],)]


def test_a_program_of_another_branch_is_refused(empty: Database) -> None:
    """The store lacks one of its migrations and has one that it does not know."""
    migrate(empty, known=newer("yes"))
    execute(empty, f"DELETE FROM schema_migrations WHERE id = '{migrations()[-1].id}'", owner=True)

    with pytest.raises(SchemaNewer, match=LATER):
        migrate(empty)


def test_a_store_without_the_words_gets_them(empty: Database) -> None:
    """A program before them made it."""
    migrate(empty)
    execute(empty, "ALTER TABLE schema_migrations DROP COLUMN beside", owner=True)
    check_schema(empty)

    migrate(empty)

    said = execute(empty, "SELECT id, beside FROM schema_migrations ORDER BY id", owner=True)
    assert said == [(migration.id, migration.beside.words) for migration in migrations()]


# --- the migration beside older parts --------------------------------------------------------------------------------


def beat(database: Database, part: str, *, age: str = "0 s") -> None:
    """Leave the heartbeat of an instance of an older part."""
    execute(database, f"INSERT INTO heartbeats VALUES ('{part}', '{part}-7', clock_timestamp() - interval '{age}')")


@pytest.mark.parametrize(
    ("words", "alive", "named"),
    [
        ("no: why", ["worker"], "worker worker-7"),
        ("no: why", ["worker", "projector"], "projector projector-7, worker worker-7"),
        ("api, worker: why", ["worker", "projector"], "projector projector-7"),
    ],
)
def test_a_migration_is_refused_beside_parts_that_may_not_run(
    empty: Database, words: str, alive: list[str], named: str
) -> None:
    """Nothing has changed, and the refusal names the parts and the reason."""
    migrate(empty)
    for part in alive:
        beat(empty, part)

    with pytest.raises(OlderPartsAlive, match=r"--regardless") as refused:
        migrate(empty, known=newer(words))

    assert (refused.value.alive, refused.value.migrations) == (named, f"{LATER} ({words})")
    assert execute(empty, "SELECT to_regclass('later')") == [(None,)]
    assert migrate(empty, known=newer(words), regardless=True) == [LATER]


@pytest.mark.parametrize(
    ("words", "part", "age"),
    [
        ("yes", "projector", "0 s"),
        ("api, worker: why", "worker", "0 s"),
        ("no: why", "worker", f"{FRESH.total_seconds() + 1} s"),
        ("no: why", "worker", "-1 hour"),
    ],
)
def test_a_migration_goes_on_beside_parts_that_may_run_or_are_dead(
    empty: Database, words: str, part: str, age: str
) -> None:
    """A heartbeat of the future is one of a former clock."""
    migrate(empty)
    beat(empty, part, age=age)

    assert migrate(empty, known=newer(words)) == [LATER]


def test_a_start_that_migrates_nothing_asks_nobody_to_stop(empty: Database) -> None:
    """The parts that are alive are its own."""
    migrate(empty)
    beat(empty, "worker")

    assert migrate(empty) == []


def test_the_missing_migrations_are_told_without_a_change(empty: Database) -> None:
    """Of a database without a ledger they are all."""
    missing = missing_migrations(empty)

    assert missing == list(migrations())
    assert execute(empty, "SELECT to_regclass('schema_migrations')", owner=True) == [(None,)]
    migrate(empty)
    assert missing_migrations(empty) == []
