"""The projector on a real log: follows it, shares the work with others, stops loudly and survives what may happen."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.embedded_postgres import EmbeddedPostgres
from ledger.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.database import Database
from ledger.mapper import encode
from ledger.wakeup import Notifier
from ledger.writer import Writer
from projections.groups import GROUPS, Group
from projections.page import Connection, Placed, read_page
from projections.projector import Projector
from projections.tables import LIVE, TABLES
from projections.tracking import LeadLost, Lease
from tests.databases import fresh_ledger
from tests.projections.histories import History, append_rows, cuts, histories

DEADLINE_SECONDS: Final = 60.0


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may do what the service may not."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        yield connection


@contextmanager
def running(projector: Projector) -> Iterator[Projector]:
    """Run a projector in a thread, and stop it afterwards."""
    thread = threading.Thread(target=projector.run)
    thread.start()
    try:
        yield projector
    finally:
        projector.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what is to come about; fail when it does not."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def tracking(connection: psycopg.Connection[Any]) -> dict[str, tuple[int, str | None, int | None, str | None]]:
    """Where each group stands, who leads it, and what stopped it."""
    rows = connection.execute("SELECT name, position, leader, stopped_at_position, stopped_because FROM tracking")
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def caught_up(connection: psycopg.Connection[Any]) -> bool:
    """Whether all groups stand at the head."""
    row = connection.execute("SELECT position FROM head").fetchone()
    assert row is not None
    return all(standing[0] == row[0] for standing in tracking(connection).values())


def dump(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all read models."""
    return {
        name: connection.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(sql.Identifier(name))).fetchall()
        for name in TABLES
    }


def empty(connection: psycopg.Connection[Any]) -> None:
    """Begin the ledger anew, as only the owner may."""
    connection.execute(
        "TRUNCATE events, payment_status, account_balance, journal, dead_letter, counters;"
        "UPDATE head SET position = 0;"
        "UPDATE tracking SET position = 0, leader = NULL, leader_until = NULL, stopped_at_position = NULL"
    )


def apply_singly(connection: psycopg.Connection[Any], count: int) -> None:
    """Apply the first events of the log, each in a page of its own."""
    for after in range(count):
        with connection.transaction():
            for group in GROUPS:
                group.apply(connection, read_page(connection, after=after, size=1).events, LIVE)


def some_history(payments: int = 20) -> History:
    """A history with settled, failed and parked payments."""
    history = History()
    accounts = [history.open(), history.open("50"), history.open("0", "JPY")]
    for number in range(payments):
        account_id = accounts[number % 3]
        payment_id = history.deposit(account_id) if number % 2 else history.withdraw(account_id, "40")
        match number % 4:
            case 0 | 1:
                history.attempt(payment_id, "approved", "succeed")
            case 2:
                history.attempt(payment_id, "declined", "fail", error="gateway_error_400")
            case _:
                history.attempt(payment_id, "unknown", "inquire", error="timeout")
                history.inquire(payment_id, "no_clear_answer", "inquire")
    return history


def expected_of(database: Database, owner: psycopg.Connection[Any], history: History) -> dict[str, Any]:
    """What the read models are to be after a history: applied event by event, then taken away again."""
    append_rows(owner, history.rows)
    with closing(database.connect(application="payment-ledger tests")) as connection:
        apply_singly(connection, len(history.rows))
    expected = dump(owner)
    empty(owner)
    return expected


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


ROBBERY = """
    UPDATE tracking SET leader = NULL, leader_until = NULL
     WHERE name IN (SELECT name FROM tracking ORDER BY name FOR UPDATE)
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

    def apply_while_another_moves(connection: Connection, events: Sequence[Placed], suffix: str) -> None:
        GROUPS[0].apply(connection, events, suffix)
        connection.execute("UPDATE tracking SET position = position + 1")

    group = Group("read_models", GROUPS[0].tables, apply_while_another_moves)
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
from ledger.database import Database
from projections.projector import Projector
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


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_no_stop(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Connections that are cut again and again cost time, and nothing else."""
    history = some_history(100)
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)

    with running(Projector(database, page_max=5)) as projector:
        for cut_at in (20, 60, 120):
            wait_until(lambda at=cut_at: tracking(owner)["read_models"][0] >= at)  # type: ignore[misc]
            wait_until(lambda: cut_off(projector, owner))
        wait_until(lambda: caught_up(owner))

    assert expected == dump(owner)
    assert {standing[2] for standing in tracking(owner).values()} == {None}


def cut_off(projector: Projector, owner: psycopg.Connection[Any]) -> bool:
    """End the session that a projector has just now, if it has one."""
    connection = projector._connection
    if connection is None or connection.closed:
        return False
    row = owner.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid]).fetchone()
    return row == (True,)


def test_a_database_that_is_away_at_the_start_is_waited_for(database: Database) -> None:
    """It keeps trying, and can be stopped meanwhile."""
    nowhere = Database("postgresql://127.0.0.1:1/nowhere", database.schema)
    projector = Projector(nowhere)

    with capture_logs() as logs, running(projector):
        wait_until(lambda: any("retry" in entry["event"] for entry in logs))


def test_a_server_that_is_killed_and_started_again_is_no_stop(tmp_path: Path) -> None:
    """What had not reached the disk of the read models is made again from the log."""
    history = some_history(200)
    server = EmbeddedPostgres(tmp_path, create=True)
    with server as url, fresh_ledger(url) as database:
        with closing(database.connect(application="payment-ledger tests", owner=True)) as owner:
            expected = expected_of(database, owner, history)
            append_rows(owner, history.rows)
        with running(Projector(database, page_max=1)):
            with closing(database.connect(application="payment-ledger tests", owner=True)) as owner:
                wait_until(lambda: tracking(owner)["read_models"][0] > 50)
                left_at = tracking(owner)["read_models"][0]
            pid_file = next(tmp_path.rglob("postmaster.pid"))
            os.kill(int(pid_file.read_text("utf-8").split()[0]), signal.SIGKILL)
            wait_until(lambda: is_back(server, database))
            with closing(database.connect(application="payment-ledger tests", owner=True)) as owner:
                wait_until(lambda: caught_up(owner))

                assert expected == dump(owner)
        assert left_at < len(history.rows)


def is_back(server: EmbeddedPostgres, database: Database) -> bool:
    """Start a killed server again as soon as it is seen to be dead; tell whether it answers."""
    server.ensure_running()
    with suppress(psycopg.OperationalError), closing(database.connect(application="payment-ledger tests")):
        return True
    return False


@pytest.mark.parametrize("page_max", [1, 64])
def test_an_event_that_cannot_be_read_stops_both_groups_until_it_can(
    database: Database, owner: psycopg.Connection[Any], page_max: int
) -> None:
    """Everything before it is applied, its position and the reason are told, and once mended all goes on."""
    history = some_history()
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)
    owner.execute("UPDATE events SET topic = 'payment.unheard_of' WHERE notification_id = 9")

    with (
        capture_logs() as logs,
        running(Projector(database, page_max=page_max, poll_interval_seconds=0.02, pause_seconds_min=0.1)),
    ):
        wait_until(lambda: all(standing[2] == 9 for standing in tracking(owner).values()))
        for position, _, _, because in tracking(owner).values():
            assert position == 8
            assert "cannot read 'payment.unheard_of'" in str(because)
        assert {(entry["group"], entry["position"]) for entry in stops(logs)} == {("read_models", 9), ("counters", 9)}

        topic = history.rows[8].topic
        owner.execute("UPDATE events SET topic = %s WHERE notification_id = 9", [topic])

        wait_until(lambda: caught_up(owner))

    assert {standing[2:] for standing in tracking(owner).values()} == {(None, None)}
    assert {"projection_resumed"} == {entry["event"] for entry in logs if "resumed" in entry["event"]}
    assert expected == dump(owner)


def stops(logs: list[EventDict]) -> list[EventDict]:
    """The lines of a log that tell of a stop."""
    return [entry for entry in logs if entry["event"] == "projection_stopped"]


def test_a_row_that_the_database_refuses_stops_its_group_alone(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """The guilty event is found inside its page; the other group goes on; a restart tries again."""
    history = some_history()
    append_rows(owner, history.rows)
    guilty = next(position for position, recorded in history.events if recorded.data.TOPIC == "account.debited")
    owner.execute(
        sql.SQL("ALTER TABLE journal ADD CONSTRAINT poison CHECK (position <> {})").format(sql.Literal(guilty))
    )

    with capture_logs() as logs, running(Projector(database, poll_interval_seconds=0.02)):
        wait_until(lambda: tracking(owner)["read_models"][2] is not None)
        wait_until(lambda: tracking(owner)["counters"][0] == len(history.rows))
        position, _, stopped_at, because = tracking(owner)["read_models"]
        assert (position, stopped_at) == (guilty - 1, guilty)
        assert str(because).startswith("CheckViolation")
        assert tracking(owner)["counters"][2:] == (None, None)
    assert [(entry["group"], entry["position"]) for entry in stops(logs)] == [("read_models", guilty)]

    owner.execute("ALTER TABLE journal DROP CONSTRAINT poison")
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    assert tracking(owner)["read_models"][2:] == (None, None)


def test_rows_that_do_not_fit_the_log_stop_their_group(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A payment that somebody has taken out of the table is missed at its next event, inside a page of many."""
    history = History()
    payment_id = history.deposit(history.open())
    append_rows(owner, history.rows)
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    owner.execute("DELETE FROM payment_status")
    before = len(history.rows)
    history.open()
    history.attempt(payment_id, "approved", "succeed")
    append_rows(owner, history.rows[before:])

    with running(Projector(database)):
        wait_until(lambda: tracking(owner)["read_models"][2] is not None)

    position, _, stopped_at, because = tracking(owner)["read_models"]
    assert (position, stopped_at, because) == (before + 1, before + 2, "payment 1 was never requested")


def test_a_stopped_group_does_not_spin(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The pause grows from one try to the next, whatever notifications come."""
    append_rows(owner, some_history().rows)
    owner.execute("UPDATE events SET state = 'x' WHERE notification_id = 4")
    notifier = Notifier(database)
    notifier.start()

    with (
        capture_logs() as logs,
        running(Projector(database, poll_interval_seconds=0.01, pause_seconds_min=0.05)),
    ):
        while len(stops(logs)) < 8:
            notifier.notify("log")
    notifier.stop()

    pauses = [entry["again_in_seconds"] for entry in stops(logs) if entry["group"] == "counters"]
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]


def test_a_gap_in_the_log_stops(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A position that is missing is never passed over."""
    history = some_history()
    append_rows(owner, history.rows)
    owner.execute("DELETE FROM events WHERE notification_id = 7")

    with running(Projector(database)):
        wait_until(lambda: all(standing[2] == 7 for standing in tracking(owner).values()))

    assert {standing[0] for standing in tracking(owner).values()} == {6}


def test_a_log_that_was_cut_behind_the_read_models_stops(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Read models that know more than the log are told of, and go on when the log has its events again."""
    history = some_history()
    append_rows(owner, history.rows)
    with running(Projector(database, poll_interval_seconds=0.02, pause_seconds_min=0.1)):
        wait_until(lambda: caught_up(owner))
        owner.execute("UPDATE head SET position = position - 3")
        wait_until(lambda: all(s[2] == len(history.rows) - 2 for s in tracking(owner).values()))

        owner.execute("UPDATE head SET position = position + 3")

        wait_until(lambda: {s[2] for s in tracking(owner).values()} == {None})


def test_text_that_no_column_can_hold_stops_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """What a gateway says may hold any character that JSON can carry."""
    history = History()
    payment_id = history.deposit(history.open())
    history.attempt(payment_id, "declined", "fail", error="a\0b")
    poisoned = [row if row.topic != "payment.failed" else row._replace(state=_nul(row.state)) for row in history.rows]
    append_rows(owner, poisoned)

    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))

    errors = owner.execute("SELECT s.last_error, d.error FROM payment_status s JOIN dead_letter d USING (payment_id)")
    assert errors.fetchall() == [("gave\N{REPLACEMENT CHARACTER}up",) * 2]


def _nul(state: bytes) -> bytes:
    assert b"gave_up" in state
    return state.replace(b"gave_up", b"gave\\u0000up")


def test_an_unreadable_event_is_cut_short_in_what_is_told_of_it(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Neither its length nor its characters keep the stop from being recorded."""
    history = some_history()
    append_rows(owner, history.rows)
    owner.execute("UPDATE events SET topic = repeat('x', 100000) WHERE notification_id = 1")

    with running(Projector(database)):
        wait_until(lambda: all(standing[2] == 1 for standing in tracking(owner).values()))

    assert {len(str(standing[3])) for standing in tracking(owner).values()} == {1000}


def test_encoding_is_what_the_log_holds() -> None:
    """The histories of these tests are stored as the writer stores events."""
    history = some_history(3)

    assert [row.state for row in history.rows] == [encode(recorded) for _, recorded in history.events]
