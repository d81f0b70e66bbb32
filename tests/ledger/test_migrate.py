"""Migrations: what they make, that they may be run by many at once, and what the service's role may not do."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.database import Database
from ledger.errors import RoleMissing, SchemaMissing, SchemaNewer, SchemaOlder
from ledger.migrate import check_schema, migrate
from tests.databases import remove

MIGRATIONS = ["0001.store", "0002.read_models", "0003.contradictions", "0004.withheld"]
WAITING_FOR_A_LOCK = """
    SELECT 1 FROM pg_stat_activity
     WHERE application_name = 'payment-ledger migrate' AND wait_event_type = 'Lock' AND query LIKE '%CREATE TABLE {} (%'
"""


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Database]:
    """A schema that does not exist yet."""
    database = Database(postgres_url, f"test_{uuid4().hex[:16]}")
    yield database
    remove(database)


@pytest.fixture
def nobody(postgres_url: str) -> Iterator[tuple[Database, Callable[[str], None]]]:
    """A ledger to be owned by somebody who may not create roles, and a way to run SQL as somebody who may."""
    owner, schema = f"owner_{uuid4().hex[:12]}", f"test_{uuid4().hex[:16]}"
    url = make_conninfo(postgres_url, user=owner)
    admin = Database(postgres_url, schema)

    def run(statement: str) -> None:
        with closing(admin.connect(application="test", owner=True)) as connection:
            connection.execute(statement.encode())

    run(f"CREATE ROLE {owner} LOGIN")
    run(f"CREATE SCHEMA {schema} AUTHORIZATION {owner}")
    yield Database(url, schema), run
    remove(admin)
    run(f"DROP ROLE {owner}")


def execute(database: Database, statement: str, *, owner: bool = False) -> list[tuple[Any, ...]]:
    with closing(database.connect(application="test", owner=owner)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_an_empty_database_becomes_a_ledger(empty: Database) -> None:
    """The second time there is nothing to do, and the ledger keeps its id."""
    with pytest.raises(SchemaMissing):
        check_schema(empty)

    applied, again = migrate(empty), migrate(empty)

    check_schema(empty)
    assert applied == MIGRATIONS
    assert again == []
    assert execute(empty, "SELECT count(*) FROM identity") == [(1,)]
    assert execute(empty, "SELECT position, next_account_id, next_payment_sequence FROM head") == [(0, 1, 0)]


def test_a_schema_without_tables_is_no_ledger(empty: Database) -> None:
    """Somebody may have made the schema beforehand."""
    execute(empty, f"CREATE SCHEMA {empty.schema}", owner=True)

    with pytest.raises(SchemaMissing):
        check_schema(empty)


def test_several_may_migrate_at_once(empty: Database) -> None:
    """One applies, the others wait and then find nothing to do."""
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(migrate, [empty] * 6))

    assert sorted(applied) == [[], [], [], [], [], MIGRATIONS]
    assert execute(empty, "SELECT count(*) FROM head") == [(1,)]


def test_a_killed_migration_holds_nobody_up(empty: Database) -> None:
    """Its lock goes with its session, and the row that the tool leaves behind is cleared."""
    migrate(empty)
    execute(empty, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)", owner=True)
    execute(empty, "DELETE FROM _yoyo_migration WHERE migration_id > '0002'", owner=True)
    execute(
        empty,
        "DROP TABLE tracking, payment_status, account_balance, journal, dead_letter, counters, heartbeats",
        owner=True,
    )
    execute(empty, "ALTER TABLE head DROP COLUMN withheld", owner=True)

    assert migrate(empty) == MIGRATIONS[1:]


def test_a_contradicted_payment_of_an_older_ledger_is_still_to_be_reconciled(empty: Database) -> None:
    """It was a yes or no, and has become a number."""
    migrate(empty)
    execute(
        empty,
        """
        DELETE FROM _yoyo_migration WHERE migration_id = '0003.contradictions';
        ALTER TABLE payment_status DROP CONSTRAINT payment_status_contradictions_count;
        ALTER TABLE payment_status DROP COLUMN contradictions;
        ALTER TABLE payment_status ADD COLUMN contradicted boolean NOT NULL DEFAULT false;
        INSERT INTO payment_status (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status,
                                    attempts, created_at, updated_at, position, contradicted)
        VALUES (1, 1, 'deposit', 100, 2, 'USD', 'failed', 'failed', 1, now(), now(), 1, true),
               (2, 2, 'deposit', 100, 2, 'USD', 'failed', 'failed', 1, now(), now(), 2, false)
        """,
        owner=True,
    )

    migrate(empty)

    assert execute(empty, "SELECT payment_id, contradictions FROM payment_status ORDER BY 1") == [(1, 1), (2, 0)]


@pytest.mark.parametrize("table", ["identity", "gateway_queue", "heartbeats"])
def test_a_migration_killed_in_the_middle_is_finished_by_the_next(empty: Database, table: str) -> None:
    """Each file is one transaction, so a half-made one is none; the tool's lock row of the killed one is cleared."""
    execute(empty, f"CREATE SCHEMA {empty.schema}", owner=True)
    connection = empty.connect(application="test", owner=True)
    with closing(connection), connection.transaction(force_rollback=True):
        # A table of that name, not yet committed, is where the migration has to wait.
        connection.execute(f"CREATE TABLE {table} ()".encode())
        process = multiprocessing.get_context("spawn").Process(target=migrate, args=(empty,))
        process.start()
        while not execute(empty, WAITING_FOR_A_LOCK.format(table), owner=True):
            assert process.is_alive()
        process.kill()
        process.join()

    migrate(empty)

    check_schema(empty)
    assert execute(empty, "SELECT count(*) FROM identity") == [(1,)]


def test_an_older_database_is_named_with_the_command_to_run(empty: Database) -> None:
    """Without AUTO_CREATE_TABLES nothing is changed behind the operator's back."""
    migrate(empty)
    execute(empty, "DELETE FROM _yoyo_migration WHERE migration_id = '0002.read_models'", owner=True)

    with pytest.raises(SchemaOlder, match="payment-ledger migrate") as older:
        check_schema(empty)

    assert older.value.missing == "0002.read_models"


def test_a_newer_database_is_refused(empty: Database) -> None:
    """An old program must not write into what a new one has changed."""
    migrate(empty)
    execute(
        empty,
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', '9999.later', now())",
        owner=True,
    )

    with pytest.raises(SchemaNewer, match=r"9999.later"):
        check_schema(empty)
    with pytest.raises(SchemaNewer, match=r"9999.later"):
        migrate(empty)


@pytest.mark.parametrize("table", ["events", "snapshots", "idempotency_keys", "identity"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD x integer"]
)
def test_the_service_cannot_take_back_what_is_written(database: Database, table: str, statement: str) -> None:
    """The log, its snapshots and its keys only grow, and the database itself sees to that."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, statement.format(table))


@pytest.mark.parametrize(
    "column", ["originator_id", "originator_version", "topic", "state", "notification_id", "digest"]
)
def test_the_service_cannot_change_an_event(database: Database, column: str) -> None:
    """Not one column of it."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, f"UPDATE events SET {column} = {column}")


def test_the_service_moves_the_head_and_cannot_say_that_a_store_is_not_withheld(database: Database) -> None:
    """Also where an earlier version of the program had given it the whole row."""
    role = sql.Identifier(database.service_role).as_string()
    execute(database, f"GRANT UPDATE ON head TO {role}", owner=True)

    migrate(database)

    execute(database, "UPDATE head SET position = position")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, "UPDATE head SET withheld = false")


@pytest.mark.parametrize("statement", ["ROLLBACK", "DISCARD ALL", "RESET ALL"])
def test_the_service_stays_the_service(database: Database, statement: str) -> None:
    """Its role is an option of the connection and comes back with every reset."""
    with closing(database.connect(application="test")) as connection:
        connection.execute(statement.encode())

        assert connection.execute("SELECT current_user").fetchone() == (database.service_role,)


def test_an_owner_who_may_not_create_roles_is_given_the_sql(
    nobody: tuple[Database, Callable[[str], None]],
) -> None:
    """Somebody who may runs it, and the next start goes through."""
    database, run = nobody

    with pytest.raises(RoleMissing) as missing:
        migrate(database)
    with pytest.raises(RoleMissing):
        check_schema(database)
    run(missing.value.sql)
    migrate(database)

    check_schema(database)
    assert execute(database, "SELECT current_user") == [(database.service_role,)]


def test_an_owner_who_may_create_roles_and_nothing_more_takes_the_role_up(
    nobody: tuple[Database, Callable[[str], None]],
) -> None:
    """Making a role does not yet allow to work as it."""
    database, run = nobody
    run(f"ALTER ROLE {conninfo_to_dict(database.url)['user']} CREATEROLE")

    migrate(database)

    assert execute(database, "SELECT current_user") == [(database.service_role,)]


def test_a_role_that_exists_already_is_used(empty: Database) -> None:
    """Roles belong to the whole server, so another database's ledger may have made it."""
    execute(empty, sql.SQL("CREATE ROLE {}").format(sql.Identifier(empty.service_role)).as_string(), owner=True)

    migrate(empty)

    assert execute(empty, "SELECT current_user") == [(empty.service_role,)]
