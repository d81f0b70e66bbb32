"""A session that cannot write is closed, tries are paused, and nothing is refused or acknowledged wrongly."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.audit.verify import verify_seals
from ledger.errors import DatabaseUnavailable, LedgerError, OutcomeUnknown
from ledger.fail_points import FailPoint
from ledger.store.database import Database
from ledger.store.log import SQL as LOG
from ledger.writer.writer import Writer
from tests.support.databases import backends, end_sessions, execute, fresh_ledger, ledger_of_its_own, suspended
from tests.support.ledgers.running_writer import answer, deposit, given_account, log_topics
from tests.support.servers.standbys import bring_back, cancel_the_wait, without_its_standby

WRITER = "payment-ledger writer"
PROMISED_SECONDS = 5.0
TICKS_SECONDS = 1.5
"""The watchdog looks every quarter of a second, and a busy machine takes its time."""


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger whose sessions a test may interrupt."""
    with ledger_of_its_own(postgres_url) as database:
        yield database


@contextmanager
def writing(database: Database, **settings: Any) -> Iterator[Writer]:
    """Run a writer."""
    writer = Writer(database, **settings)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """Make every new session of the database read-only, and end the present ones, as a demoted primary does."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("SET default_transaction_read_only = off")
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        try:
            end_sessions(database, WRITER)
            yield
        finally:
            owner.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


def failing_first(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 1) -> list[str]:
    """Let the first batches fail after their inserts with an error of the database; the list gets the failures."""
    failures: list[str] = []

    def fail(place: FailPoint) -> None:
        if place == "writer.before_commit" and len(failures) < times:
            failures.append(place)
            raise error

    monkeypatch.setattr("ledger.fail_points._reached", fail)
    return failures


# --- a duplicate, although the head was locked -----------------------------------------------------------------------


def test_a_duplicate_position_is_decided_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row lock does not survive a move of its table; the client has done nothing wrong."""
    with writing(database) as writer:
        given_account(writer)
        failures = failing_first(monkeypatch, psycopg.errors.UniqueViolation())

        requested = answer(writer.submit(deposit("200")))

    assert failures == ["writer.before_commit"]
    assert requested.payment_id == 1
    assert verify_seals(database).ok


def test_a_duplicate_that_stays_refuses_only_its_command(database: Database) -> None:
    """The command whose event is there already is refused after a few tries; the others are carried out."""
    with writing(database) as writer:
        given_account(writer)
        given_account(writer)
        statement = (
            "INSERT INTO events (originator_id, originator_version, topic, state, notification_id, digest)"
            " SELECT 'payment-1', 1, topic, state, 1000000, digest FROM events LIMIT 1"
        )
        execute(database, statement, owner=True)
        answers = asyncio.run(writer.execute_all([deposit("200", account_id=1), deposit("200", account_id=2)]))

    assert isinstance(answers[0], LedgerError)
    assert answers[0].code == "command_rejected"
    assert not isinstance(answers[1], LedgerError)


def test_a_head_that_moved_under_its_lock_is_decided_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compare-and-set found it, nothing was committed, and the next try sees the new head."""
    with writing(database) as writer:
        given_account(writer)
        real = LOG["move_head"]
        moved: list[str] = []

        def moving(place: FailPoint) -> None:
            if place == "writer.before_insert" and not moved:
                moved.append(place)
                statements = {**LOG, "move_head": f"{real} AND position = -1"}
                monkeypatch.setattr("ledger.store.log.SQL", statements)
            elif place == "writer.after_insert":
                monkeypatch.setattr("ledger.store.log.SQL", LOG)

        monkeypatch.setattr("ledger.fail_points._reached", moving)
        requested = answer(writer.submit(deposit("200")))

    assert moved == ["writer.before_insert"]
    assert requested.payment_id == 1


# --- a session that cannot write --------------------------------------------------------------------------------------


def test_an_internal_error_refuses_nobody_and_is_paused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with one is tried a few times, and not hundreds of times."""
    with writing(database) as writer:
        given_account(writer)
        failures = failing_first(monkeypatch, psycopg.errors.InternalError_(), times=2)

        requested = answer(writer.submit(deposit("200")))

    assert len(failures) == 2
    assert requested.payment_id == 1


def test_a_command_with_an_internal_error_that_stays_is_refused_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told that the database is unavailable, after few tries, and the next command is carried out."""
    with writing(database) as writer:
        given_account(writer)
        with monkeypatch.context() as patching:
            failures = failing_first(patching, psycopg.errors.InternalError_(), times=1_000)
            with pytest.raises(DatabaseUnavailable):
                answer(writer.submit(deposit("200")))

        assert len(failures) < 10
        assert answer(writer.submit(deposit("200"))).payment_id == 1


def test_a_writer_goes_on_after_the_database_was_read_only(tmp_path: Path) -> None:
    """Its session is closed and a new one is made, with pauses, and no restart is needed."""
    with EmbeddedPostgres(tmp_path, create=True) as url, fresh_ledger(url) as database:
        with writing(database, patience_seconds=1.0) as writer:
            given_account(writer)
            with read_only(database), capture_logs() as logs:
                with pytest.raises(DatabaseUnavailable):
                    answer(writer.submit(deposit("200")))
                assert not asyncio.run(writer.can_write())
                assert "25006" in (writer.trouble or "")

            assert asyncio.run(writer.can_write())
            assert answer(writer.submit(deposit("200"))).payment_id == 1
            assert writer.trouble is None
        assert len([line for line in logs if line["event"] == "writer_interrupted"]) < 15


def test_a_writer_goes_on_after_a_right_was_withdrawn(database: Database) -> None:
    """It does not spin, and an idle writer tells that it cannot write."""
    role = sql.Identifier(database.service_role).as_string()
    with writing(database, patience_seconds=3.0) as writer:
        given_account(writer)
        assert asyncio.run(writer.can_write())
        execute(database, f"REVOKE INSERT ON events FROM {role}", owner=True)
        with capture_logs() as logs, pytest.raises(DatabaseUnavailable):
            answer(writer.submit(deposit("200")))
        assert not asyncio.run(writer.can_write())

        execute(database, f"GRANT INSERT ON events TO {role}", owner=True)

        assert asyncio.run(writer.can_write())
        assert answer(writer.submit(deposit("200"))).payment_id == 1
    assert {line["sqlstate"] for line in logs if line["event"] == "writer_interrupted"} == {"42501"}
    assert len(logs) < 15


def test_commands_in_the_queue_wait_no_longer_than_their_patience(database: Database) -> None:
    """A batch that waited for the database does not make the next one wait as long again."""
    role = sql.Identifier(database.service_role).as_string()
    with writing(database, patience_seconds=1.0, batch_max=1) as writer:
        given_account(writer)
        execute(database, f"REVOKE INSERT ON events FROM {role}", owner=True)
        started = time.monotonic()
        futures = [writer.submit(deposit("200")) for _ in range(8)]
        failures = {type(future.exception(30)) for future in futures}
        took_seconds = time.monotonic() - started

    assert failures == {DatabaseUnavailable}
    assert took_seconds < 4.0


# --- a server that hangs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["writer.after_lock", "writer.before_commit"])
def test_a_server_that_hangs_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch, place: FailPoint) -> None:
    """The caller is told in time that the outcome is unknown if a COMMIT was under way, else that nothing was done."""
    with writing(database) as writer:
        given_account(writer)
        (pid,) = backends(database, WRITER)
        with monkeypatch.context() as patching:
            stopping = suspended(pid)

            def suspend(reached: FailPoint) -> None:
                if reached == place:
                    patching.setattr("ledger.fail_points._reached", lambda _: None)
                    stopping.__enter__()

            patching.setattr("ledger.fail_points._reached", suspend)
            started = time.monotonic()
            try:
                error = writer.submit(deposit("200", key="k")).exception(30)
            finally:
                stopping.__exit__(None, None, None)
        took_seconds = time.monotonic() - started
        again = answer(writer.submit(deposit("200", key="k")))

    assert type(error) is (OutcomeUnknown if place == "writer.before_commit" else DatabaseUnavailable)
    assert took_seconds < PROMISED_SECONDS + TICKS_SECONDS
    assert again.payment_id == 1
    assert log_topics(database).count("payment.requested") == 1


def test_a_suspended_server_is_not_writable(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question is answered within moments."""
    monkeypatch.setattr("ledger.writer.standing.FRESH_SECONDS", 0.0)
    with writing(database) as writer:
        given_account(writer)
        with suspended(*backends(database, WRITER)):
            assert not asyncio.run(writer.can_write())


# --- a wait for the standby that was cancelled -----------------------------------------------------------------------


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_cancelled_wait_for_the_standby_is_no_commit(tmp_path: Path, function: str) -> None:
    """The primary has the payment, the standby may not: the caller is told that the outcome is unknown."""
    with (
        EmbeddedPostgres(tmp_path, create=True) as url,
        fresh_ledger(url) as database,
        writing(database, patience_seconds=3.0) as writer,
    ):
        given_account(writer)
        with without_its_standby(database) as owner:
            future = writer.submit(deposit("200", key="k"))
            cancel_the_wait(owner, function, application="payment-ledger writer")

            with pytest.raises(OutcomeUnknown):
                answer(future)
        again = answer(writer.submit(deposit("200", key="k")))

    assert (again.payment_id, again.replayed) == (1, True)


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_standby_that_comes_back_makes_it_a_commit(tmp_path: Path, function: str) -> None:
    """The question whether the batch was committed waits for the standby, like the caller."""
    with EmbeddedPostgres(tmp_path, create=True) as url, fresh_ledger(url) as database:
        with writing(database, patience_seconds=30.0) as writer:
            given_account(writer)
            with without_its_standby(database) as owner:
                future = writer.submit(deposit("200"))
                cancel_the_wait(owner, function, application="payment-ledger writer")
                assert not future.done()
                bring_back(owner)
                requested = answer(future)

        assert requested.payment_id == 1
        assert log_topics(database).count("payment.requested") == 1
