"""Heartbeats: one row for each running instance."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from ledger.store.database import Database
from ledger.store.heartbeats import Heartbeat, new_instance


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection of the service."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        yield connection


def beating(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The parts and instances that have a heartbeat."""
    return connection.execute("SELECT part, instance FROM heartbeats ORDER BY 1, 2").fetchall()


def test_an_instance_has_one_row_from_its_start_to_its_stop(connection: psycopg.Connection[Any]) -> None:
    """Each beat updates the row's time, and a clean stop removes the row."""
    heartbeat = Heartbeat("projector", new_instance())
    heartbeat.start(connection)
    started = connection.execute("SELECT at FROM heartbeats").fetchone()

    heartbeat.beat(connection)

    beaten = connection.execute("SELECT at FROM heartbeats").fetchone()
    assert started is not None
    assert beaten is not None
    assert beaten > started
    assert beating(connection) == [("projector", heartbeat.instance)]
    heartbeat.stop(connection)
    assert beating(connection) == []


def test_heartbeats_of_killed_instances_are_removed_after_an_hour(connection: psycopg.Connection[Any]) -> None:
    """The next start of the same part removes them after an hour."""
    connection.execute(
        "INSERT INTO heartbeats VALUES ('worker', 'long dead', clock_timestamp() - interval '61 min'),"
        " ('worker', 'just dead', clock_timestamp() - interval '59 min'),"
        " ('projector', 'long dead', clock_timestamp() - interval '61 min')"
    )

    Heartbeat("worker", "new").start(connection)

    assert beating(connection) == [("projector", "long dead"), ("worker", "just dead"), ("worker", "new")]


def test_no_two_instances_have_one_name() -> None:
    """Containers may share a host name and a process id."""
    assert new_instance() != new_instance()
