"""The role that the service works as: who creates it, and what happens when it exists or may not be created."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.errors import RoleMissing, SchemaMissing
from ledger.store.database import Database
from ledger.store.migrate import check_schema, migrate
from tests.support.databases import execute, remove

WAITING_TO_CREATE_THE_ROLE = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%CREATE ROLE "{}"%'
"""


@pytest.fixture
def nobody(postgres_url: str) -> Iterator[tuple[Database, Callable[[str], None]]]:
    """Yield a ledger whose owner may not create roles, and a function that runs SQL as a role that may."""
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


def test_an_owner_who_may_not_create_roles_is_given_the_sql(
    nobody: tuple[Database, Callable[[str], None]],
) -> None:
    """A role that may create roles pastes the SQL of the message, and the next start succeeds."""
    database, run = nobody

    with pytest.raises(RoleMissing) as missing:
        migrate(database)
    with pytest.raises(SchemaMissing):
        check_schema(database)
    pasted = str(missing.value).partition("\n\n")[2]
    run(" ".join(pasted.split()))  # also where a terminal or a form has joined the lines
    migrate(database)

    check_schema(database)
    run(f"REVOKE {database.service_role} FROM {conninfo_to_dict(database.url)['user']}")
    with pytest.raises(RoleMissing):
        check_schema(database)
    run(missing.value.sql.partition(";")[2])  # the statements after the one that creates the role
    check_schema(database)
    assert execute(database, "SELECT current_user") == [(database.service_role,)]


def test_an_owner_who_may_only_create_roles_can_use_the_role(
    nobody: tuple[Database, Callable[[str], None]],
) -> None:
    """The owner needs a grant besides, because creating a role does not allow its use."""
    database, run = nobody
    run(f"ALTER ROLE {conninfo_to_dict(database.url)['user']} CREATEROLE")

    migrate(database)

    assert execute(database, "SELECT current_user") == [(database.service_role,)]


def test_a_role_that_exists_already_is_used(empty: Database) -> None:
    """Roles belong to the whole server, so another database's ledger may have created it."""
    execute(empty, sql.SQL("CREATE ROLE {}").format(sql.Identifier(empty.service_role)).as_string(), owner=True)

    migrate(empty)

    assert execute(empty, "SELECT current_user") == [(empty.service_role,)]


def test_a_role_that_another_migration_creates_at_the_same_time_is_used(empty: Database) -> None:
    """A schema of the same name in another database shares the role, and its migration may commit the role first."""
    create_role = sql.SQL("CREATE ROLE {}").format(sql.Identifier(empty.service_role))
    with closing(empty.connect(application="test", owner=True)) as other, ThreadPoolExecutor() as threads:
        other.execute("BEGIN")
        other.execute(create_role)
        migrating = threads.submit(migrate, empty)
        while not execute(empty, WAITING_TO_CREATE_THE_ROLE.format(empty.service_role), owner=True):
            assert not migrating.done()
        other.execute("COMMIT")

        migrating.result()

    assert execute(empty, "SELECT current_user") == [(empty.service_role,)]


def logs_in_as(database: Database) -> tuple[object, ...]:
    """Read the settings of a session that logs in as the service's role, without any start-up option."""
    role = make_conninfo(database.url, user=database.service_role)
    with closing(psycopg.connect(role)) as connection:
        row = connection.execute(
            "SELECT current_user, current_schema(), current_setting('enable_seqscan'), current_setting('timezone')"
        ).fetchone()
    assert row is not None
    return row


def test_the_role_can_log_in_and_has_its_settings_then(database: Database) -> None:
    """The nodes of a database of several nodes log in as it, and start-up options do not reach them."""
    assert logs_in_as(database) == (database.service_role, database.schema, "off", "UTC")


def test_a_role_that_is_prepared_is_not_changed_again(database: Database) -> None:
    """Migrations of equally named schemas in several databases would change it at the same time, and one would fail."""
    versions = (
        "SELECT r.xmin::text, s.xmin::text FROM pg_authid AS r JOIN pg_db_role_setting AS s ON s.setrole = r.oid"
        f" WHERE r.rolname = '{database.service_role}'"
    )
    before = execute(database, versions, owner=True)

    migrate(database)

    assert len(before) == 1
    assert execute(database, versions, owner=True) == before


def test_the_role_of_an_older_store_is_brought_up_to_date(database: Database) -> None:
    """It could not log in, and had no settings."""
    role = sql.Identifier(database.service_role).as_string()
    execute(database, f"ALTER ROLE {role} NOLOGIN", owner=True)
    execute(database, f"ALTER ROLE {role} IN DATABASE postgres RESET ALL", owner=True)

    migrate(database)

    assert logs_in_as(database) == (database.service_role, database.schema, "off", "UTC")


def test_a_role_that_its_owner_may_not_change_is_left_as_it_is(
    nobody: tuple[Database, Callable[[str], None]],
) -> None:
    """On a server of one node nothing needs more."""
    database, run = nobody
    run(f"CREATE ROLE {database.service_role} NOLOGIN")
    run(f"GRANT {database.service_role} TO {conninfo_to_dict(database.url)['user']}")

    migrate(database)

    assert execute(database, "SELECT current_user") == [(database.service_role,)]
