"""Migrations: their results, several runs at once, and the rights of the service's role."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ledger.errors import SchemaMissing, SchemaNewer, SchemaOlder
from ledger.fail_points import arm
from ledger.store.database import Database
from ledger.store.migrate import SQL as MIGRATE
from ledger.store.migrate import Migration, check_schema, migrate, migrations
from tests.support.databases import execute, remove

MIGRATIONS: Final = [migration.id for migration in migrations()]
KILL_THE_MIGRATION = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
     WHERE application_name = 'payment-ledger migrate' AND datname = current_database() AND state <> 'idle'
       AND pid IN (SELECT pid FROM pg_locks
                    WHERE locktype = 'advisory'
                      AND (classid::bigint << 32) | objid::bigint
                          = hashtextextended('payment-ledger migrate {}', 0))
"""
WAITING_FOR_A_LOCK = """
    SELECT 1 FROM pg_stat_activity
     WHERE application_name = 'payment-ledger migrate' AND wait_event_type = 'Lock' AND query LIKE '%CREATE TABLE {} (%'
"""


def test_an_empty_database_becomes_a_ledger(empty: Database) -> None:
    """The second migration does nothing, and the ledger keeps its id."""
    with pytest.raises(SchemaMissing):
        check_schema(empty)

    applied, again = migrate(empty), migrate(empty)

    check_schema(empty)
    assert applied == MIGRATIONS
    assert again == []
    assert execute(empty, "SELECT count(*) FROM ledger_identity") == [(1,)]
    assert execute(empty, "SELECT position, next_account_id, next_payment_sequence FROM log_head") == [(0, 1, 0)]


def test_a_schema_without_tables_is_no_ledger(empty: Database) -> None:
    """The schema may have been created beforehand."""
    execute(empty, f"CREATE SCHEMA {empty.schema}", owner=True)

    with pytest.raises(SchemaMissing):
        check_schema(empty)


def test_several_may_migrate_at_once(empty: Database) -> None:
    """One migrates, and the others wait and then have nothing to do."""
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(migrate, [empty] * 6))

    assert sorted(applied) == [[], [], [], [], [], MIGRATIONS]
    assert execute(empty, "SELECT count(*) FROM log_head") == [(1,)]


def upto(number: int) -> tuple[Migration, ...]:
    """The migrations of an older program."""
    return migrations()[:number]


def keep_records_as_before_0005(database: Database, marks: Sequence[str]) -> None:
    """Leave a store as programs before 0005 did: with records in another tool's tables, right or wrong."""
    execute(
        database,
        """
        DROP TABLE schema_migrations;
        CREATE TABLE _yoyo_migration (migration_hash text PRIMARY KEY, migration_id text, applied_at_utc timestamp);
        CREATE TABLE _yoyo_log (id text PRIMARY KEY);
        CREATE TABLE _yoyo_version (version integer PRIMARY KEY);
        CREATE TABLE yoyo_lock (locked integer PRIMARY KEY, ctime timestamp, pid integer);
        INSERT INTO yoyo_lock VALUES (1, now(), 1)
        """,
        owner=True,
    )
    for mark in marks:
        execute(database, f"INSERT INTO _yoyo_migration VALUES ('{mark}', '{mark}', now())", owner=True)


def make_store(database: Database, version: int) -> None:
    """Create the store of an older program with an account in it. Version 0 has no store."""
    if version:
        migrate_as_of(database, version)


def migrate_as_of(database: Database, version: int) -> None:
    """Migrate as a program did that had so many migrations."""
    with closing(database.connect(application="test", owner=True)) as connection, connection.transaction():
        connection.execute(f"CREATE SCHEMA {database.schema}".encode())
        connection.execute(MIGRATE["make_list"])
        for migration in upto(version):
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(MIGRATE["mark_applied"], {"id": migration.id, "beside": None})


def catalogue(database: Database) -> list[tuple[Any, ...]]:
    """Everything in a schema: columns, constraints, indexes, rights, and the recorded migrations."""
    return execute(
        database,
        f"""
        SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text
          FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE c.relnamespace = to_regnamespace('{database.schema}') AND a.attnum > 0 AND NOT a.attisdropped
         UNION ALL
        SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), ''
          FROM pg_constraint WHERE connamespace = to_regnamespace('{database.schema}')
         UNION ALL
        SELECT 'index', tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = '{database.schema}'
         UNION ALL
        SELECT 'right', table_name, privilege_type, grantee, ''
          FROM information_schema.role_table_grants
         WHERE table_schema = '{database.schema}' AND grantee = '{database.service_role}'
         ORDER BY 1, 2, 3, 4, 5
        """,
        owner=True,
    )


STATEMENTS_OF: Final = [
    (version, number)
    for version in range(len(MIGRATIONS))
    for number in range(sum(len(migration.statements) for migration in migrations()[version:]))
]


@pytest.mark.parametrize(("version", "number"), STATEMENTS_OF)
def test_dying_before_a_statement_leaves_the_store_as_it_was(empty: Database, version: int, number: int) -> None:
    """This holds for every older version and for an empty database. The next migration then succeeds."""
    make_store(empty, version)
    before, left = catalogue(empty), [number]

    def die(name: str) -> None:
        if name != "migrate.before_statement":
            return
        if not left[0]:
            execute(empty, KILL_THE_MIGRATION.format(empty.schema), owner=True)
        left[0] -= 1

    arm(die)
    try:
        with pytest.raises(psycopg.OperationalError):
            migrate(empty)
    finally:
        arm(None)

    assert before == catalogue(empty)
    assert migrate(empty) == MIGRATIONS[version:]
    check_schema(empty)


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_dying_before_the_commit_leaves_the_store_as_it_was(empty: Database, version: int) -> None:
    """The migration is one transaction."""
    make_store(empty, version)
    before = catalogue(empty)

    def die(name: str) -> None:
        if name == "migrate.before_commit":
            execute(empty, KILL_THE_MIGRATION.format(empty.schema), owner=True)

    arm(die)
    try:
        with pytest.raises(psycopg.OperationalError):
            migrate(empty)
    finally:
        arm(None)

    assert before == catalogue(empty)
    assert migrate(empty) == MIGRATIONS[version:]


def test_an_older_store_becomes_the_same_as_a_new_one(postgres_url: str) -> None:
    """This holds for every older version, and for every column, constraint, index and right."""
    made = []
    for version in range(len(MIGRATIONS)):
        database = Database(postgres_url, f"test_{uuid4().hex[:16]}")
        try:
            make_store(database, version)
            migrate(database)
            made.append(str(catalogue(database)).replace(database.schema, "schema"))
        finally:
            remove(database)

    assert len(set(made)) == 1


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("marked", [-1, 0])
def test_an_older_store_is_migrated_although_its_records_are_wrong(empty: Database, version: int, marked: int) -> None:
    """That program committed a migration and its record separately, and could die between the two."""
    migrate_as_of(empty, version)
    keep_records_as_before_0005(empty, MIGRATIONS[: version + marked])
    with pytest.raises(SchemaOlder):
        check_schema(empty)

    applied = migrate(empty)

    check_schema(empty)
    assert applied == MIGRATIONS[version:]
    assert execute(empty, "SELECT to_regclass('yoyo_lock')", owner=True) == [(None,)]


def test_a_contradicted_payment_of_an_older_ledger_stays_contradicted(empty: Database) -> None:
    """The column was a boolean and is now a number, and its letter has a new state."""
    migrate_as_of(empty, 2)
    execute(
        empty,
        """
        INSERT INTO payment_status (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status,
                                    attempts, created_at, updated_at, position, contradicted)
        VALUES (1, 1, 'deposit', 100, 2, 'USD', 'failed', 'failed', 1, now(), now(), 1, true),
               (2, 2, 'deposit', 100, 2, 'USD', 'failed', 'failed', 1, now(), now(), 2, false);
        INSERT INTO dead_letter VALUES (1, 1, 1, 'deposit', 100, 2, 'USD', 'reconcile', 'contradicted', 1, now()),
                                       (2, 2, 2, 'deposit', 100, 2, 'USD', 'failed', 'gateway_error_400', 1, now())
        """,
        owner=True,
    )

    migrate(empty)

    contradictions = execute(empty, "SELECT payment_id, contradictions FROM payment_status ORDER BY 1", owner=True)
    letters = execute(empty, "SELECT payment_id, state FROM dead_letter ORDER BY 1", owner=True)
    assert contradictions == [(1, 1), (2, 0)]
    assert letters == [(1, "contradicted"), (2, "failed")]


@pytest.mark.parametrize("table", ["identity", "gateway_queue", "heartbeats"])
def test_a_migration_killed_in_the_middle_is_finished_by_the_next(empty: Database, table: str) -> None:
    """The migration is one transaction, so nothing of it is left, and its lock ends with its session."""
    execute(empty, f"CREATE SCHEMA {empty.schema}", owner=True)
    connection = empty.connect(application="test", owner=True)
    with closing(connection), connection.transaction(force_rollback=True):
        # The migration waits for this uncommitted table of the same name.
        connection.execute(f"CREATE TABLE {table} ()".encode())
        process = multiprocessing.get_context("spawn").Process(target=migrate, args=(empty,))
        process.start()
        while not execute(empty, WAITING_FOR_A_LOCK.format(table), owner=True):
            assert process.is_alive()
        process.kill()
        process.join()

    migrate(empty)

    check_schema(empty)
    assert execute(empty, "SELECT count(*) FROM ledger_identity") == [(1,)]


def test_an_older_database_is_named_with_the_command_to_run(empty: Database) -> None:
    """Without AUTO_CREATE_TABLES nothing is changed."""
    migrate(empty)
    execute(empty, "DELETE FROM schema_migrations WHERE id = '0002.read_models'", owner=True)

    with pytest.raises(SchemaOlder, match="payment-ledger migrate") as older:
        check_schema(empty)

    assert older.value.missing == "0002.read_models"


def test_a_newer_database_is_refused(empty: Database) -> None:
    """An old program must not write to a schema that a newer one has changed."""
    migrate(empty)
    execute(empty, "INSERT INTO schema_migrations (id, applied_at) VALUES ('9999.later', now())", owner=True)

    with pytest.raises(SchemaNewer, match=r"9999.later"):
        check_schema(empty)
    with pytest.raises(SchemaNewer, match=r"9999.later"):
        migrate(empty)


@pytest.mark.parametrize("table", ["events", "snapshots", "idempotency_keys", "ledger_identity"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD x integer"]
)
def test_the_service_cannot_remove_stored_rows(database: Database, table: str, statement: str) -> None:
    """The database's rights ensure that the log, its snapshots and its keys only grow."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, statement.format(table))


@pytest.mark.parametrize(
    "column", ["originator_id", "originator_version", "topic", "state", "notification_id", "digest"]
)
def test_the_service_cannot_change_an_event(database: Database, column: str) -> None:
    """This holds for every column."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, f"UPDATE events SET {column} = {column}")


def test_the_service_moves_the_head_and_cannot_activate_a_store(database: Database) -> None:
    """This holds too if an earlier version of the program granted the whole row."""
    role = sql.Identifier(database.service_role).as_string()
    execute(database, f"GRANT UPDATE ON log_head TO {role}", owner=True)

    migrate(database)

    execute(database, "UPDATE log_head SET position = position")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, "UPDATE log_head SET inactive = false")


@pytest.mark.parametrize("statement", ["ROLLBACK", "DISCARD ALL", "RESET ALL"])
def test_the_service_stays_the_service(database: Database, statement: str) -> None:
    """Its role is an option of the connection, so every reset restores it."""
    with closing(database.connect(application="test")) as connection:
        connection.execute(statement.encode())

        assert connection.execute("SELECT current_user").fetchone() == (database.service_role,)
