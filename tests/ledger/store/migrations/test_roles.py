"""A service with a login of its own has no way back to the owner, and an auditor reads all and writes nothing."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from api.operator.roles import roles_sql
from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount
from ledger.store.database import Database
from ledger.store.migrate import check_schema
from ledger.writer.writer import Writer
from tests.support.databases import execute, fresh_ledger
from tests.support.servers.clusters import run
from tests.support.services import Client, serving_api

TABLES = (
    *("events", "log_head", "snapshots", "idempotency_keys", "gateway_queue", "schema_migrations"),
    *("payment_status", "account_balance", "ledger_identity"),
)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Database]:
    """Yield a ledger with an account whose owner has run the SQL, twice."""
    with fresh_ledger(postgres_url) as database:
        for _ in range(2):
            execute(database, roles_sql(database), owner=True)
        writer = Writer(database)
        writer.start()
        writer.submit(OpenAccount(command_id="open", opening=Decimal(5), currency="USD")).result(30)
        writer.stop()
        yield database
        run(database.url, f"DROP OWNED BY {database.schema}_auditor; DROP ROLE {database.schema}_auditor")


def as_user(database: Database, name: str) -> Database:
    parts = urlsplit(database.url)
    return Database(urlunsplit(parts._replace(netloc=f"{database.schema}_{name}@")), database.schema)


def test_the_api_works_with_a_login_of_its_own(ledger: Database, tmp_path: Path) -> None:
    """It starts on a migrated schema, and accepts and reads."""
    service = as_user(ledger, "service")
    check_schema(service)

    with serving_api(service, tmp_path, AUTO_CREATE_TABLES="false") as url, Client(url) as client:
        opened = client.post("/users/", {"balance": 7})
        read = client.get(f"/users/{opened.json()['id']}")

    assert (opened.status_code, read["balance"]) == (201, 7)
    assert verify_store(service).errors == []


@pytest.mark.parametrize("way_back", ["SET ROLE NONE", "RESET ROLE", "RESET SESSION AUTHORIZATION", "DISCARD ALL"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE events SET topic = 'x'", "DELETE FROM events", "UPDATE log_head SET inactive = true", "DROP TABLE events"],
)
def test_no_reset_of_the_role_gives_more_rights(ledger: Database, way_back: str, statement: str) -> None:
    """As the owner of the schema, the same session could rewrite the log."""
    with psycopg.connect(as_user(ledger, "service").url, autocommit=True) as connection:
        connection.execute(way_back.encode())
        connection.execute(f"SET search_path = {ledger.schema}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


@pytest.mark.parametrize("table", TABLES)
def test_an_auditor_reads_every_table_and_writes_none(ledger: Database, table: str) -> None:
    """Also when the session takes back that its transactions only read."""
    with psycopg.connect(as_user(ledger, "auditor").url, autocommit=True) as connection:
        assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() is not None
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute(f"DELETE FROM {table}".encode())
        connection.execute("SET default_transaction_read_only = off")
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_an_auditor_reads_tables_of_later_releases(ledger: Database) -> None:
    """The owner's new tables are granted by default."""
    execute(ledger, "CREATE TABLE made_later ()", owner=True)

    with psycopg.connect(as_user(ledger, "auditor").url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM made_later").fetchone() == (0,)
