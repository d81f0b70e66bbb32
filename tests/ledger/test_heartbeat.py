"""Heartbeats: a row for each instance that runs."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from ledger.database import Database
from ledger.heartbeat import Heartbeat, new_instance


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the service."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        yield connection


def beating(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The parts and instances that have a heartbeat."""
    return connection.execute("SELECT part, instance FROM heartbeats ORDER BY 1, 2").fetchall()


def test_an_instance_has_one_row_from_its_start_to_its_stop(connection: psycopg.Connection[Any]) -> None:
    """Each beat moves the row's time; a clean stop takes the row away."""
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


def test_what_killed_instances_left_is_cleared_after_a_while(connection: psycopg.Connection[Any]) -> None:
    """An hour later, by the next start of the same part."""
    connection.execute(
        "INSERT INTO heartbeats VALUES ('worker', 'long dead', clock_timestamp() - interval '61 min'),"
        " ('worker', 'just dead', clock_timestamp() - interval '59 min'),"
        " ('projector', 'long dead', clock_timestamp() - interval '61 min')"
    )

    Heartbeat("worker", "new").start(connection)

    assert beating(connection) == [("projector", "long dead"), ("worker", "just dead"), ("worker", "new")]


def test_no_two_instances_have_one_name() -> None:
    """Containers may share host name and process id."""
    assert new_instance() != new_instance()
