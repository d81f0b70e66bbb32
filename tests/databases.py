"""A ledger of its own for each test: a fresh schema in the run's Postgres, migrated, and dropped afterwards."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ledger.database import Database
from ledger.migrate import migrate


@contextmanager
def fresh_ledger(url: str) -> Iterator[Database]:
    """Make an empty ledger in a schema of its own, and remove it with its role."""
    database = Database(url, f"test_{uuid4().hex[:16]}")
    try:
        migrate(database)
        yield database
    finally:
        remove(database)


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Make an empty database on the same server, for a whole service, and remove it; its URL."""
    name = f"test_{uuid4().hex[:16]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def traces(database: Database) -> tuple[int, ...]:
    """Count what commands leave behind: events, idempotency keys, entries in the gateway's queue."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        tables = ("events", "idempotency_keys", "gateway_queue")
        return tuple(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in tables)


def remove(database: Database) -> None:
    """Drop a ledger's schema and its role."""
    names = {"schema": sql.Identifier(database.schema), "role": sql.Identifier(database.service_role)}
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {schema} CASCADE").format(**names))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {role}").format(**names))
