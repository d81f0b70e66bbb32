"""The database's clock is set forward or back under heartbeats and reads."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest

from api.errors import RequestInvalid
from api.operator.status import read_status
from api.operator.verification import read_balance
from api.runtime.readiness import heartbeat_fresh
from api.settings import Settings
from ledger.domain.commands import OpenAccount
from ledger.partition.partition import Partitions
from ledger.store.heartbeats import Heartbeat, new_instance
from ledger.writer.writer import Writer
from tests.support.clocks import DAY, HOUR, ClockedDatabase, clocked_ledger
from tests.support.databases import execute


@pytest.fixture
def database(postgres_url: str) -> Iterator[ClockedDatabase]:
    """Yield a ledger whose clock can be set."""
    with clocked_ledger(postgres_url) as database:
        yield database


@pytest.mark.parametrize("step", [-2 * HOUR, -DAY, HOUR, DAY])
def test_a_dead_part_is_not_taken_for_a_living_one(database: ClockedDatabase, step: timedelta) -> None:
    """After a step back its last heartbeat is in the future, and was never a moment ago."""
    dead = Heartbeat("projector", new_instance())
    with closing(database.connect(application="test")) as connection:
        dead.start(connection)
        fresh_before = heartbeat_fresh("projector", database)
        database.step_clock(step)

        (seen,) = read_status(database, Settings.load({})).report.parts
        fresh_after = heartbeat_fresh("projector", database)
        dead.beat(connection)
        fresh_again = heartbeat_fresh("projector", database)

    assert abs(seen.seen_seconds_ago - abs(step.total_seconds())) < 60
    assert (fresh_before, fresh_after, fresh_again) == (True, False, True)
    assert "no projector is alive" not in read_status(database, Settings.load({})).wrong


@pytest.mark.parametrize("step", [-DAY, -HOUR, DAY])
def test_the_rows_of_dead_parts_go_after_the_clock_was_set(database: ClockedDatabase, step: timedelta) -> None:
    """The next part that starts deletes them, whether they are of the past or of the future."""
    with closing(database.connect(application="test")) as connection:
        Heartbeat("worker", "dead").start(connection)
        database.step_clock(step)
        Heartbeat("worker", "living").start(connection)
        parts = connection.execute("SELECT instance FROM heartbeats").fetchall()

    assert parts == [("living",)]


def test_a_clock_that_was_ahead_is_named(database: ClockedDatabase) -> None:
    """The ledger's start has the time of the clock that was ahead; the log's time is ahead when that is set right."""
    database.step_clock(-timedelta(hours=1))

    assert read_status(database, Settings.load({})).report.log_ahead_seconds > 3_000


def test_the_balance_at_an_events_own_time_can_be_asked_for(database: ClockedDatabase) -> None:
    """Also when the clock was set back since then: the log's last time has come, and later ones have not."""
    writer = Writer(database)
    writer.start()
    writer.submit(OpenAccount(command_id="o", opening=Decimal(7), currency="USD")).result()
    writer.stop()
    partition = Partitions.whole(database).only
    ((at,),) = execute(database, "SELECT at FROM log_head")
    database.step_clock(-2 * HOUR)

    assert read_balance(partition, 1, position=None, at=at).balance == 7
    with pytest.raises(RequestInvalid):
        read_balance(partition, 1, position=None, at=at + HOUR)
