"""The projector when something is wrong: it stops loudly, loses nothing, and goes on when that is mended."""

import os
import signal
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.store.database import Database
from ledger.store.notifications import Notifier
from ledger.store.serialization import encode
from projections.engine.projector import Projector
from tests.support.databases import fresh_ledger
from tests.support.histories import History, append_rows
from tests.support.read_models import caught_up, dump, expected_of, running, some_history, tracking
from tests.support.waiting import wait_until


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


def test_a_database_that_may_only_be_read_for_a_while_blames_no_event(tmp_path: Path) -> None:
    """The projector makes new sessions until one may write, and then goes on where it was."""
    history = some_history(20)
    with (
        EmbeddedPostgres(tmp_path, create=True) as url,
        fresh_ledger(url) as database,
        closing(database.connect(application="payment-ledger tests", owner=True)) as owner,
    ):
        expected = expected_of(database, owner, history)
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        append_rows(owner, history.rows)
        with capture_logs() as logs, running(Projector(database)):
            wait_until(lambda: len([entry for entry in logs if entry["event"] == "projector_interrupted"]) > 2)
            owner.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
            wait_until(lambda: caught_up(owner))

        assert stops(logs) == []
        assert expected == dump(owner)


def test_a_session_that_became_read_only_blames_no_event(database: Database, owner: psycopg.Connection[Any]) -> None:
    """It is the session's fault, and a new session applies the same events."""
    history = some_history(20)
    expected = expected_of(database, owner, history)
    with capture_logs() as logs, running(Projector(database, lease_seconds=600)) as projector:
        wait_until(lambda: any(entry["event"] == "projection_lead_taken" for entry in logs))
        assert projector._connection is not None
        projector._connection.execute("SET default_transaction_read_only = on")
        append_rows(owner, history.rows)
        wait_until(lambda: caught_up(owner))

    assert stops(logs) == []
    assert expected == dump(owner)


def cut_off(projector: Projector, owner: psycopg.Connection[Any]) -> bool:
    """End the session that a projector has just now, if it has one."""
    connection = projector._connection
    if connection is None or connection.closed:
        return False
    row = owner.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid]).fetchone()
    return row == (True,)


def test_a_database_that_is_away_at_the_start_is_waited_for(database: Database) -> None:
    """It keeps trying, and can be stopped between tries."""
    nowhere = Database("postgresql://127.0.0.1:1/nowhere", database.schema)
    projector = Projector(nowhere)

    with capture_logs() as logs, running(projector):
        wait_until(lambda: any("retry" in entry["event"] for entry in logs))


def test_a_server_that_is_killed_and_started_again_is_no_stop(tmp_path: Path) -> None:
    """Rows of read models that had not reached the disk are written again from the log."""
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


def test_a_stopped_group_does_not_spin(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The pause grows from one try to the next, also when notifications arrive."""
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
        owner.execute("UPDATE log_head SET position = position - 3")
        wait_until(lambda: all(s[2] == len(history.rows) - 2 for s in tracking(owner).values()))

        owner.execute("UPDATE log_head SET position = position + 3")

        wait_until(lambda: {s[2] for s in tracking(owner).values()} == {None})


def test_text_that_no_column_can_hold_stops_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A gateway's answer may contain any character of JSON."""
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
