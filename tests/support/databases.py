"""A ledger for each test: a new schema in the run's Postgres, migrated, and dropped afterwards."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from api.runtime.database import migrate_all
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.store.migrate import migrate
from projections.models.registry import FOLLOWERS


@contextmanager
def fresh_ledger(url: str) -> Iterator[Database]:
    """Create an empty ledger in a schema of its own, and drop the schema and its role afterwards."""
    database = Database(url, f"test_{uuid4().hex[:16]}")
    try:
        migrate(database, followers=FOLLOWERS)
        yield database
    finally:
        remove(database)


@contextmanager
def fresh_partitions(url: str, count: int) -> Iterator[Partitions]:
    """Create an empty ledger with `count` partitions in schemas of their own, and drop them afterwards."""
    partitions = Partitions.over([Database(url, f"test_{uuid4().hex[:16]}")] * count)
    try:
        migrate_all(partitions)
        yield partitions
    finally:
        for partition in partitions:
            remove(partition.database)


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Create an empty database on the same server, for a whole service; yields its URL and drops it afterwards."""
    name = f"test_{uuid4().hex[:16]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def traces(database: Database) -> tuple[int, ...]:
    """Count the traces of commands: events, idempotency keys, entries in the gateway queue."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        tables = ("events", "idempotency_keys", "gateway_queue")
        return tuple(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in tables)


def remove(database: Database) -> None:
    """Drop a ledger's schema and its role."""
    names = {"schema": sql.Identifier(database.schema), "role": sql.Identifier(database.service_role)}
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {schema} CASCADE").format(**names))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {role}").format(**names))


def execute(database: Database, statement: str, *, owner: bool = False) -> list[tuple[Any, ...]]:
    """Run a statement in a session of its own, as the service's role or as the owner, and return its rows."""
    with closing(database.connect(application="test", owner=owner)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def suspended(*pids: int) -> Iterator[None]:
    """Suspend processes of the server, as a frozen machine does, and let them go on afterwards."""
    try:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # a backend may end by itself
        os.kill(pid, number)


# --- sessions of a ledger that a test interrupts ---------------------------------------------------------------------

_ALONE = "SELECT count(*) = 1 FROM pg_class WHERE relname = 'log_head'"
_BACKENDS = """
    SELECT {what} FROM pg_stat_activity
     WHERE application_name = {application} AND datname = current_database() AND pid <> pg_backend_pid()
     ORDER BY backend_start DESC
"""


@contextmanager
def ledger_of_its_own(url: str) -> Iterator[Database]:
    """Create an empty ledger in a database of its own, and drop the database afterwards.

    The tests share one server, and a session does not show its ledger's schema: in a shared database, a test that
    interrupts sessions would interrupt those of others.
    """
    with fresh_database(url) as own, fresh_ledger(own) as database:
        yield database


def backends(database: Database, application: str) -> list[int]:
    """The server's processes for the ledger's sessions with that application name, the newest first."""
    return _ask(database, "pid", application)


def end_sessions(database: Database, application: str) -> None:
    """End the ledger's sessions with that application name, as a restart of the server does."""
    _ask(database, "pg_terminate_backend(pid, 5000)", application)


def _ask(database: Database, what: str, application: str) -> list[int]:
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        assert connection.execute(_ALONE).fetchone() == (True,), "other tests' ledgers are in the same database"
        statement = sql.SQL(_BACKENDS).format(what=sql.SQL(what), application=sql.Literal(application))
        return [found for (found,) in connection.execute(statement)]
