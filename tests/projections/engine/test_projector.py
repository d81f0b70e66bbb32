"""The projector on a real log: it follows it, and shares the work with others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ledger.domain.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.store.database import Database
from ledger.writer.writer import Writer
from projections.contract.log_page import Connection, Placed, read_page
from projections.contract.read_model import Group, ReadModel
from projections.contract.table_names import LIVE
from projections.engine.projector import _SESSION, LEASE_SECONDS, Projector
from projections.engine.tracking import LeadLost, Lease
from projections.models.registry import GROUPS
from tests.support.histories import History, append_rows, cuts, histories
from tests.support.read_models import caught_up, dump, empty, expected_of, running, some_history, tracking
from tests.support.waiting import wait_until

# --- following -------------------------------------------------------------------------------------------------------


def test_what_the_writer_writes_can_be_read(database: Database, writer: Writer, owner: psycopg.Connection[Any]) -> None:
    """A projector wakes at the writer's notification, long before it would look by itself."""
    projector = Projector(database, poll_interval_seconds=600.0)
    with running(projector):
        wait_until(lambda: tracking(owner)["counters"][1] == projector.instance)
        opening = writer.submit(OpenAccount(command_id="c", opening=Decimal(1000), currency="USD")).result()
        for request in (RequestDeposit, RequestWithdrawal):
            command = request(command_id="c", account_id=opening.account_id, amount=Decimal(200), fee_rate_ppm=20_000)
            writer.submit(command).result()

        wait_until(lambda: caught_up(owner))

    rows = owner.execute("SELECT posted_minor, held_minor, version FROM account_balance").fetchall()
    assert rows == [(100_000, 20_400, 2)]
    statuses = owner.execute("SELECT payment_id, kind, status, attempts FROM payment_status ORDER BY 1").fetchall()
    assert statuses == [(1, "deposit", "new", 0), (1025, "withdraw", "new", 0)]


def test_a_lost_notification_is_made_up_for(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Events that nobody has told of are found by looking now and then."""
    history = some_history()
    with running(Projector(database, poll_interval_seconds=0.05)):
        wait_until(lambda: tracking(owner)["counters"][1] is not None)

        append_rows(owner, history.rows)

        wait_until(lambda: caught_up(owner))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data(), histories(steps_max=30))
def test_pages_can_be_cut_anywhere(
    database: Database, owner: psycopg.Connection[Any], data: st.DataObject, history: History
) -> None:
    """Applied to real tables, a history gives the same rows in any pages as event by event."""
    pages = data.draw(st.composite(cuts)(history.events))
    empty(owner)
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)

    with closing(database.connect(application="payment-ledger tests")) as connection:
        for page in pages:
            with connection.transaction():
                for group in GROUPS:
                    group.apply(connection, page, LIVE)

    assert expected == dump(owner)


@pytest.mark.parametrize("page_max", [1, 7, 1000])
def test_pages_of_any_size_lead_to_the_same(database: Database, owner: psycopg.Connection[Any], page_max: int) -> None:
    """The size of a transaction is a matter of speed alone."""
    history = some_history()
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)

    with running(Projector(database, page_max=page_max)):
        wait_until(lambda: caught_up(owner))

    assert expected == dump(owner)


def test_an_idle_projector_sleeps(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Looking now and then takes next to no time of the processor."""
    with running(Projector(database)):
        wait_until(lambda: tracking(owner)["counters"][1] is not None)
        began, used_before = time.monotonic(), time.process_time()

        wait_until(lambda: time.monotonic() - began > 2.0)

        assert time.process_time() - used_before < 0.5  # the waiting test's own share with it


def test_whoever_stops_leaves_nothing_behind(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Leases and heartbeat are given back, so that the next one need not wait."""
    projector = Projector(database)
    with running(projector):
        wait_until(lambda: tracking(owner)["counters"][1] == projector.instance)
        assert owner.execute("SELECT part, instance FROM heartbeats").fetchall() == [("projector", projector.instance)]

    assert owner.execute("SELECT * FROM heartbeats").fetchall() == []
    assert {standing[1] for standing in tracking(owner).values()} == {None}


def test_stopping_one_that_does_not_run_is_no_fault(database: Database) -> None:
    """Neither before it runs nor after; it then ends at once."""
    projector = Projector(database)
    projector.stop()

    projector.run()

    projector.stop()


# --- one leader among several ----------------------------------------------------------------------------------------


def test_one_leads_and_the_other_waits(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The second takes nothing as long as the first renews its lease, and all when it leaves."""
    first, second = Projector(database, lease_seconds=0.6), Projector(database, lease_seconds=0.6)
    with running(first):
        wait_until(lambda: {s[1] for s in tracking(owner).values()} == {first.instance})
        with running(second):
            wait_until(lambda: owner.execute("SELECT count(*) FROM heartbeats").fetchone() == (2,))
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 1.5)
            assert {s[1] for s in tracking(owner).values()} == {first.instance}

            first.stop()

            wait_until(lambda: {s[1] for s in tracking(owner).values()} == {second.instance})


def test_a_lead_lasts_while_pages_take_long(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Each page takes less than the lease, and those of both groups together take longer."""
    append_rows(owner, some_history(2).rows)

    def fold(_events: Sequence[Placed]) -> None:
        time.sleep(1.6)

    slow = tuple(
        Group(name, (ReadModel(name=model, tables=(), fold=fold, store=lambda *_: None),))
        for name, model in (("counters", "counters"), ("read_models", "journal"))
    )
    first, second = Projector(database, lease_seconds=2.4, groups=slow), Projector(database, lease_seconds=2.4)
    with capture_logs() as logs, running(first):
        wait_until(lambda: {standing[1] for standing in tracking(owner).values()} == {first.instance})
        with running(second):
            wait_until(lambda: caught_up(owner))
            leaders = {standing[1] for standing in tracking(owner).values()}

    assert leaders == {first.instance}
    assert [entry for entry in logs if entry["event"] == "projection_lead_lost"] == []


def test_a_lease_outlasts_the_longest_transaction() -> None:
    """It counts from the start of a page's transaction, and would else have ended when the page is committed."""
    assert int(_SESSION["transaction_timeout"].removesuffix("s")) < LEASE_SECONDS


ROBBERY = """
    UPDATE projection_tracking SET leader = NULL, leader_until = NULL
     WHERE name IN (SELECT name FROM projection_tracking ORDER BY name FOR UPDATE)
"""


def test_two_that_rob_each_other_of_the_lead_apply_nothing_twice(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Leases that end all the time, under both, cost work and never an event."""
    history = some_history(60)
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)
    leaders: set[str | None] = set()

    with (
        running(Projector(database, page_max=1, lease_seconds=0.05)) as first,
        running(Projector(database, page_max=1, lease_seconds=0.05)) as second,
    ):
        while not (caught_up(owner) and {first.instance, second.instance} <= leaders):
            leaders.update(standing[1] for standing in tracking(owner).values())
            owner.execute(ROBBERY)
            time.sleep(0.02)  # else neither gets anything done between two robberies

    assert expected == dump(owner)


def test_a_page_is_applied_by_one_of_two_that_believe_to_lead(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Even under one and the same name, the second finds that the group has moved and writes nothing."""
    history = some_history()
    append_rows(owner, history.rows)
    lease = Lease(leader="both", duration=timedelta(seconds=5))
    with (
        closing(database.connect(application="payment-ledger tests")) as one,
        closing(database.connect(application="payment-ledger tests")) as other,
    ):
        lease.lead(one)
        page = read_page(other, after=0, size=10)
        assert lease.apply(one, GROUPS[0], 0, page.events) == 10
        rows = dump(owner)

        with pytest.raises(LeadLost):
            lease.apply(other, GROUPS[0], 0, page.events)

    assert rows == dump(owner)


def test_rows_are_not_kept_when_the_position_has_moved_meanwhile(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """The compare-and-set holds by itself, should a lock ever not."""
    append_rows(owner, some_history().rows)

    def move(connection: Connection, _events: Sequence[Placed], _suffix: str) -> None:
        connection.execute("UPDATE projection_tracking SET position = position + 1")

    moves_meanwhile = ReadModel(name="moves_meanwhile", tables=(), fold=list, store=move)
    group = Group("read_models", (*GROUPS[0].models, moves_meanwhile))
    owner.execute("UPDATE projection_tracking SET models = models || '{moves_meanwhile}'")
    lease = Lease(leader="one", duration=timedelta(seconds=5))
    with closing(database.connect(application="payment-ledger tests")) as connection:
        lease.lead(connection)
        page = read_page(connection, after=0, size=10)

        with pytest.raises(LeadLost):
            lease.apply(connection, group, 0, page.events)

    assert not any(dump(owner).values())
    assert tracking(owner)["read_models"][0] == 0


_PROJECT_UNTIL_KILLED: Final = """
import sys
from ledger.store.database import Database
from projections.engine.projector import _SESSION, LEASE_SECONDS, Projector
Projector(Database(sys.argv[1], sys.argv[2]), page_max=5, lease_seconds=1.0).run()
"""


def test_another_takes_over_from_one_that_is_killed(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A leader killed in the middle of its work leaves whole pages behind, and its lease runs out."""
    history = some_history(400)
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)
    killed = subprocess.Popen([sys.executable, "-c", _PROJECT_UNTIL_KILLED, database.url, database.schema])
    wait_until(lambda: tracking(owner)["read_models"][0] > 0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    left_at = tracking(owner)["read_models"][0]
    killed_at = time.monotonic()

    with running(Projector(database, lease_seconds=1.0)):
        wait_until(lambda: caught_up(owner))

    assert time.monotonic() - killed_at < 10.0
    assert 0 < left_at < len(history.rows)
    assert expected == dump(owner)
