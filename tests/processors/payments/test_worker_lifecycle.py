"""A worker wakes on new payments, sends heartbeats, reconnects to the database, and drains when it is stopped."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from ledger.application.application import Ledger
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.processors.payments.observing import WITHIN_SECONDS, ended, queued, request_deposit
from tests.support.databases import end_sessions, ledger_of_its_own
from tests.support.gateways.scripted import OK, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import working


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger whose sessions a test may interrupt."""
    with ledger_of_its_own(postgres_url) as database:
        yield database


def test_a_new_payment_wakes_a_sleeping_worker(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It does not wait for its next poll, which here would be in an hour."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, poll_interval_seconds=3600):
        wait_until(lambda: listening(database))
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


def test_a_worker_has_a_heartbeat_until_it_stops(database: Database) -> None:
    """Health checks read its row, which is removed when it stops."""
    with working(database, "http://127.0.0.1:1") as worker:
        wait_until(lambda: heartbeats(database) == [("worker", worker.name)])

    assert heartbeats(database) == []


def test_a_lost_database_connection_is_replaced(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The worker reconnects, and continues with the queue."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url):
        ended(ledger, request_deposit(writer))
        end_sessions(database, "payment-ledger worker")
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


def test_a_stop_waits_for_open_calls(database: Database, writer: Writer, ledger: Ledger) -> None:
    """An outcome that arrives while the worker drains is still recorded."""
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    with ScriptedGateway(calls=[slowly]) as gateway:
        with working(database, gateway.url, timeout_seconds=10):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(gateway.asked))
            threading.Timer(0.3, answer_now.set).start()

        assert ledger.payment(payment_id).state == "succeeded"


def test_a_stop_waits_only_for_a_limited_time(
    database: Database, writer: Writer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that takes too long is left to its lease."""
    monkeypatch.setattr("processors.payments.worker.DRAIN_SECONDS", 0.1)
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    with ScriptedGateway(calls=[slowly]) as gateway:
        with working(database, gateway.url, timeout_seconds=15):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(gateway.asked))
        answer_now.set()

    assert ledger.payment(payment_id).state == "new"
    assert queued(database) == 1


def heartbeats(database: Database) -> list[tuple[str, str]]:
    with closing(database.connect(application="test")) as connection:
        return connection.execute("SELECT part, instance FROM heartbeats").fetchall()


def listening(database: Database) -> bool:
    with closing(database.connect(application="test", owner=True)) as connection:
        statement = f'LISTEN "{database.schema}_queue"'
        found = connection.execute("SELECT 1 FROM pg_stat_activity WHERE query = %s", [statement]).fetchone()
    return found is not None
