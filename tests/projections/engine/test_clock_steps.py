"""The database's clock is set forward or back while projectors lead."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from ledger.store.database import Database
from projections.engine.tracking import Lease
from projections.models.registry import GROUPS
from tests.support.clocks import DAY, HOUR, ClockedDatabase, clocked_ledger

ALL = {group.name for group in GROUPS}
LEASE = timedelta(seconds=60)


@pytest.fixture
def database(postgres_url: str) -> Iterator[ClockedDatabase]:
    """Yield a ledger whose clock can be set."""
    with clocked_ledger(postgres_url) as database:
        yield database


def led_by(database: Database, leader: str) -> set[str]:
    with closing(database.connect(application="test")) as connection:
        return set(Lease(leader=leader, duration=LEASE).lead(connection))


@pytest.mark.parametrize("step", [-2 * HOUR, -DAY, HOUR, DAY])
def test_a_dead_leader_is_followed_after_the_clock_was_set(database: ClockedDatabase, step: timedelta) -> None:
    """After a step back its lease would last until the clock has caught up."""
    first, too_early = led_by(database, "dead"), led_by(database, "other")

    database.step_clock(step)

    assert (first, too_early) == (ALL, set())
    assert led_by(database, "other") == ALL
    assert led_by(database, "third") == set()


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_living_leader_goes_on_after_the_clock_was_set(database: ClockedDatabase, step: timedelta) -> None:
    """It renews its lease by the new time, and then nobody else can take it."""
    led_by(database, "living")

    database.step_clock(step)

    assert led_by(database, "living") == ALL
    assert led_by(database, "other") == set()
