"""Brings a database's schema to the form that this program needs.

The tables stand in plain SQL under `migrations/` and are applied by yoyo-migrations, each file in a transaction. Around
it stands an advisory lock of ours, so that of several processes that start at once one migrates and the others wait;
while we hold it, a lock row that yoyo left behind when its process was killed belongs to nobody and is cleared.

The service's role and its grants are made here too. Where the owner may not create roles, `RoleMissing` carries the SQL
for somebody who may.
"""

from contextlib import closing, suppress
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import psycopg
import psycopg.errors
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import MigrationList, default_migration_table

from ledger.database import Database
from ledger.errors import RoleMissing, SchemaMissing, SchemaNewer, SchemaOlder
from ledger.seal import first_seal
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "migrate.sql")


def migrate(database: Database) -> list[str]:
    """Apply what is missing and name it; applying nothing is the usual case.

    Raises SchemaNewer for a database made by a newer program, RoleMissing where roles may not be created.
    """
    with closing(database.connect(application="payment-ledger migrate", owner=True)) as connection:
        connection.execute(SQL["lock"], {"schema": database.schema})
        _ensure_schema(connection, database)
        applied = _apply(database)
        ledger_id = uuid4()
        connection.execute(SQL["begin_ledger"], {"ledger_id": ledger_id, "digest": first_seal(ledger_id)})
        connection.execute(SQL["begin_tracking"])
        _ensure_role(connection, database)
        grant(connection, database)
    return applied


def check_schema(database: Database) -> None:
    """Make sure that the database has the form that this program needs, without changing it.

    Raises SchemaMissing, SchemaOlder, SchemaNewer; RoleMissing when the service's role cannot be taken up.
    """
    with closing(database.connect(application="payment-ledger check", owner=True)) as connection:
        if connection.execute(SQL["schema_exists"], {"schema": database.schema}).fetchone() is None:
            raise SchemaMissing(schema=database.schema)
        try:
            rows = connection.execute(SQL["read_applied"]).fetchall()
        except psycopg.errors.UndefinedTable:
            raise SchemaMissing(schema=database.schema) from None
        _compare({str(row[0]) for row in rows}, database)
        _ensure_membership(connection, database)


def _compare(applied: set[str], database: Database) -> None:
    known = _migrations()
    _refuse_newer(applied, known, database)
    if missing := [migration.id for migration in known if migration.id not in applied]:
        raise SchemaOlder(schema=database.schema, missing=", ".join(missing))


def _refuse_newer(applied: set[str], known: MigrationList, database: Database) -> None:
    if unknown := sorted(applied.difference(migration.id for migration in known)):
        raise SchemaNewer(schema=database.schema, unknown=", ".join(unknown))


def grant(connection: psycopg.Connection[Any], database: Database) -> None:
    """Give the service's role what it may do in the schema, and nothing more."""
    connection.execute(_composed(SQL["grants"], database))


def _migrations() -> MigrationList:
    return read_migrations("package:ledger:migrations")


def _apply(database: Database) -> list[str]:
    given = conninfo_to_dict(database.conninfo(application="payment-ledger migrate", owner=True))
    name = given.pop("dbname", None)
    address = DatabaseURI("postgresql+psycopg", None, None, None, None, name, given)
    with PostgresqlPsycopgBackend(address, default_migration_table) as backend:
        backend.init_database()
        backend.break_lock()
        with backend.lock():
            known = _migrations()
            missing = backend.to_apply(known)
            _refuse_newer({str(row[0]) for row in backend.execute(SQL["read_applied"])}, known, database)
            backend.apply_migrations(missing)
            return [migration.id for migration in missing]


def _ensure_schema(connection: psycopg.Connection[Any], database: Database) -> None:
    if connection.execute(SQL["schema_exists"], {"schema": database.schema}).fetchone() is None:
        connection.execute(_composed(SQL["create_schema"], database))


def _ensure_role(connection: psycopg.Connection[Any], database: Database) -> None:
    parameters = {"role": database.service_role}
    try:
        if connection.execute(SQL["role_exists"], parameters).fetchone() is None:
            _create_role(connection, database)
        if connection.execute(SQL["may_take_role"], parameters).fetchone() != (True,):
            connection.execute(_composed(SQL["join_role"], database))
    except psycopg.errors.InsufficientPrivilege:
        raise _role_missing(connection, database) from None


def _create_role(connection: psycopg.Connection[Any], database: Database) -> None:
    # Roles belong to the whole server: a ledger of the same name in another database may be quicker.
    with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        connection.execute(_composed(SQL["create_role"], database))


def _ensure_membership(connection: psycopg.Connection[Any], database: Database) -> None:
    parameters = {"role": database.service_role}
    if connection.execute(SQL["role_exists"], parameters).fetchone() is None or connection.execute(
        SQL["may_take_role"], parameters
    ).fetchone() != (True,):
        raise _role_missing(connection, database)


def _role_missing(connection: psycopg.Connection[Any], database: Database) -> RoleMissing:
    statements = [_composed(SQL[name], database).as_string(connection) for name in ("create_role", "join_role")]
    user = sql.Identifier(connection.info.user).as_string(connection)
    return RoleMissing(sql=" ".join(statements).replace("CURRENT_USER", user))


def _composed(statement: LiteralString, database: Database) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(database.schema), role=sql.Identifier(database.service_role))


def ledger_id(connection: psycopg.Connection[Any]) -> UUID:
    """Read the ledger's random id."""
    row = connection.execute(SQL["read_ledger_id"]).fetchone()
    assert row is not None
    return UUID(str(row[0]))
