"""The read models are whole: each module is registered, and the database has each table as its model declares it.

A table that somebody forgets to declare would be neither rebuilt nor compared with the log nor emptied between tests,
and one without rights would stop the projector. Each rule is a function that yields offenders, so that a
test shows every rule catching one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest

import projections.models
from ledger.store.database import Database
from ledger.store.migrate import migrate
from ledger.store.statements import load_statements
from projections.contract.read_model import SET_ASIDE, Group, ReadModel, Table
from projections.models import counters, dead_letter
from projections.models.registry import FOLLOWERS, GROUPS
from tests.support.databases import fresh_ledger, remove

FOLDER: Final = Path(projections.models.__path__[0])
MODULES: Final = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
STORE: Final = {
    *("events", "log_head", "ledger_identity", "snapshots", "idempotency_keys", "gateway_queue"),
    *("projection_tracking", "heartbeats", "schema_migrations", "store_origin", "store_retirement"),
    *("gateway_state", "api_key", "bulk_decision", "approval"),
}
"""The tables that do not belong to a read model."""

RIGHTS: Final = {"SELECT", "INSERT", "UPDATE", "DELETE"}


# --- modules ---------------------------------------------------------------------------------------------------------


def declared(modules: Sequence[str]) -> dict[str, ReadModel[Any]]:
    """The read models that modules declare, by the modules' names; a module that only reads tables declares none."""
    found = {name: getattr(import_module(f"projections.models.{name}"), "MODEL", None) for name in modules}
    return {name: model for name, model in found.items() if model is not None}


def misregistered(models: Mapping[str, ReadModel[Any]], groups: Sequence[Group]) -> Iterator[str]:
    """The models that are declared and not registered, registered twice, or not named like their module and SQL."""
    listed = [model for group in groups for model in group.models]
    for module, model in models.items():
        if listed.count(model) != 1:
            yield f"{module} is registered {listed.count(model)} times"
        if model.name != module or not (FOLDER / f"{model.name}.sql").exists():
            yield f"{module} declares {model.name}"
    tables = [table for model in listed for table in model.tables]
    for table in tables:
        if [other.name for other in tables].count(table.name) != 1:
            yield f"{table.name} has several models"
        if not table.key or not set(table.key) <= set(table.columns):
            yield f"{table.name} has no key among its columns"


def test_every_read_model_is_registered_once() -> None:
    """And is called as its module and its SQL are."""
    models = declared(MODULES)

    assert len(models) >= 5
    assert list(misregistered(models, GROUPS)) == []


def test_a_read_model_that_is_misregistered_is_found() -> None:
    """Forgotten, listed twice, wrongly named, with a table of another model, or without a key."""
    models = declared(MODULES)
    keyless = ReadModel(
        name="keyless",
        tables=(Table(name="keyless", key=("other",), columns=("name",)),),
        fold=counters.fold,
        store=counters.store,
    )
    first, second = GROUPS

    forgotten = [f"{model.name} is registered 0 times" for model in second.models]
    assert list(misregistered(models, [first])) == forgotten
    assert "dead_letter is registered 2 times" in misregistered(models, [*GROUPS, Group("again", (dead_letter.MODEL,))])
    assert "counters has several models" in misregistered(models, [*GROUPS, second])
    assert list(misregistered({"other_name": counters.MODEL}, GROUPS)) == ["other_name declares counters"]
    assert list(misregistered(models, [*GROUPS, Group("keyless", (keyless,))])) == [
        "keyless has no key among its columns"
    ]


# --- the database ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may change the tables of a ledger that is as any."""
    with fresh_ledger(postgres_url) as database, closing(database.connect(application="test", owner=True)) as owner:
        yield owner


def incomplete(owner: psycopg.Connection[Any], groups: Sequence[Group]) -> Iterator[str]:
    """The differences between the database and the registry: tables, columns, keys, rights and tracking rows."""
    tables = {table.name: table for table in (*(each for group in groups for each in group.tables), SET_ASIDE)}
    there = {name for (name,) in owner.execute(_TABLES)}
    yield from (f"{name} is neither the store's nor a read model's" for name in there - STORE - tables.keys())
    yield from (f"{name} is no table of the database" for name in (STORE | tables.keys()) - there)
    for name in sorted(there & tables.keys()):
        if {column for (column,) in owner.execute(_COLUMNS, [name])} != set(tables[name].columns):
            yield f"{name} has other columns than its model"
        if owner.execute(_KEY, [name]).fetchall() != [(each,) for each in tables[name].key]:
            yield f"{name} has another key than its model"
        if {right for (right,) in owner.execute(_RIGHTS, [name])} != RIGHTS:
            yield f"{name} gives the service other rights than it needs"
    tracked = {name for (name,) in owner.execute("SELECT name FROM projection_tracking")}
    yield from (f"{name} is tracked or a group, and not both" for name in tracked ^ {group.name for group in groups})


_TABLES: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'm', 'v')
"""
_COLUMNS: Final = """
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_KEY: Final = """
    SELECT a.attname
      FROM pg_constraint AS k
     CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS c (attnum, place)
      JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
     WHERE k.conrelid = to_regclass(%s) AND k.contype = 'p'
     ORDER BY c.place
"""
_RIGHTS: Final = """
    SELECT a.privilege_type
      FROM pg_class AS c
     CROSS JOIN LATERAL aclexplode(c.relacl) AS a
     WHERE c.oid = to_regclass(%s) AND a.grantee = (current_schema() || '_service')::regrole
"""


def test_the_database_is_as_the_registry_says(owner: psycopg.Connection[Any]) -> None:
    """No table more or less, the columns and keys of the models, and all rights that the service needs."""
    assert list(incomplete(owner, GROUPS)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("CREATE TABLE forgotten (id bigint)", "forgotten is neither the store's nor a read model's"),
        ("CREATE VIEW forgotten AS SELECT 1", "forgotten is neither the store's nor a read model's"),
        ("DROP TABLE counters", "counters is no table of the database"),
        ("DROP TABLE heartbeats", "heartbeats is no table of the database"),
        ("ALTER TABLE counters ADD since timestamptz", "counters has other columns than its model"),
        ("ALTER TABLE counters RENAME value TO worth", "counters has other columns than its model"),
        ("ALTER TABLE counters DROP CONSTRAINT counters_pkey", "counters has another key than its model"),
        ("REVOKE DELETE ON counters FROM {}", "counters gives the service other rights than it needs"),
        ("REVOKE ALL ON counters FROM {}", "counters gives the service other rights than it needs"),
        (
            "GRANT TRUNCATE ON counters TO {}",
            "counters gives the service other rights than it needs",
        ),
        ("DELETE FROM projection_tracking WHERE name = 'counters'", "counters is tracked or a group, and not both"),
    ],
)
def test_a_database_that_is_otherwise_is_found(owner: psycopg.Connection[Any], change: str, found: str) -> None:
    """A table nobody declared, one that is missing or of another form, one without rights, a group without a row."""
    role = owner.execute("SELECT current_schema() || '_service'").fetchall()[0][0]
    with owner.transaction(force_rollback=True):
        owner.execute(change.format(role).encode())

        assert list(incomplete(owner, GROUPS)) == [found]


def test_a_store_that_nothing_follows_has_no_rights_to_give(postgres_url: str) -> None:
    """The ledger by itself knows no read model: rights and tracking come from the registry alone."""
    database = Database(postgres_url, f"test_{uuid4().hex[:16]}")
    try:
        migrate(database)
        with closing(database.connect(application="test", owner=True)) as owner:
            bare = list(incomplete(owner, GROUPS))
            migrate(database, followers=FOLLOWERS)
            followed = list(incomplete(owner, GROUPS))
    finally:
        remove(database)

    assert len(bare) == len(FOLLOWERS.tables) + len(FOLLOWERS.tracked)
    assert followed == []


# --- statements ------------------------------------------------------------------------------------------------------


def rootless(statement: str) -> bool:
    """Whether a statement inserts from arrays alone, without a table of the schema to tell where that lies."""
    inserts = "INSERT INTO" in statement and "unnest(" in statement
    return inserts and not re.search(r"\bFROM\s+(?:ledger_identity\b|\{\w+\})", statement)


@pytest.mark.parametrize("model", [model for group in GROUPS for model in group.models], ids=lambda model: model.name)
def test_rows_are_inserted_where_the_schema_lies(model: ReadModel[Any]) -> None:
    """On a distributed Postgres a statement that reads no table goes through another node, with other errors."""
    found = load_statements("projections.models", f"{model.name}.sql")

    assert [name for name, statement in found.items() if rootless(statement)] == []


@pytest.mark.parametrize(
    ("statement", "offends"),
    [
        ("INSERT INTO {a} (b) SELECT b FROM unnest(%(b)b::bigint[]) AS r (b)", True),
        ("INSERT INTO {a} (b) SELECT b FROM unnest(%(b)b::bigint[]) AS r (b) ON CONFLICT (b) DO NOTHING", True),
        ("INSERT INTO {a} (b) SELECT b FROM unnest(%(b)b::bigint[]) AS r (b) CROSS JOIN (SELECT 1 FROM {c})", False),
        ("INSERT INTO {a} (b) SELECT b FROM unnest(%(b)b::bigint[]) AS r (b), (SELECT FROM ledger_identity)", False),
        ("SELECT b FROM unnest(%(b)b::bigint[]) AS r (b)", False),
        ("INSERT INTO {a} (b) VALUES (1)", False),
    ],
)
def test_an_insert_that_names_no_table_to_read_is_found(
    statement: str,
    offends: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Statements that only read are left alone, also those that read a table beside arrays."""
    assert offends is rootless(statement)
