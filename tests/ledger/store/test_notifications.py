"""Notifications between processes."""

from contextlib import closing

import psycopg
import pytest

from ledger.store.database import Database
from ledger.store.notifications import Notifier, listen_statement

WITHIN_SECONDS = 20.0


def test_a_listener_hears_the_topic_it_listens_to(database: Database) -> None:
    """It gets no other topic, and nothing of another schema."""
    notifier = Notifier(database)
    notifier.start()
    with closing(database.connect(application="test")) as connection:
        connection.execute(listen_statement(database, "queue"))

        notifier.notify("log")
        notifier.notify("queue")
        heard = next(connection.notifies(timeout=WITHIN_SECONDS))
    notifier.stop()

    assert heard.channel == f"{database.schema}_queue"


def test_notifications_requested_before_the_stop_are_sent(database: Database) -> None:
    """A stop drops no notification."""
    with closing(database.connect(application="test")) as connection:
        connection.execute(listen_statement(database, "log"))
        notifier = Notifier(database)
        notifier.notify("log", "queue")
        notifier.start()
        notifier.stop()

        assert next(connection.notifies(timeout=WITHIN_SECONDS)).channel == f"{database.schema}_log"


def test_a_lost_connection_is_replaced(database: Database) -> None:
    """A notification may be lost with the connection, and the next one arrives."""
    notifier = Notifier(database)
    notifier.start()
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute(listen_statement(database, "log"))
        notifier.notify("log")
        next(connection.notifies(timeout=WITHIN_SECONDS))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'payment-ledger notifier' AND query LIKE %s AND pid <> pg_backend_pid()",
            ["%pg_notify%"],
        )

        heard: list[psycopg.Notify] = []
        while not heard:
            notifier.notify("log")
            heard = list(connection.notifies(timeout=0.2, stop_after=1))
    notifier.stop()

    assert heard[0].channel == f"{database.schema}_log"


def test_an_unreachable_database_is_no_error(postgres_url: str) -> None:
    """Listeners also poll, so a lost notification is not an error."""
    notifier = Notifier(Database(psycopg.conninfo.make_conninfo(postgres_url, host="/nowhere"), "x"))
    notifier.start()

    notifier.notify("log")
    notifier.stop()


@pytest.mark.parametrize("given", ["", "-c statement_timeout=7s"])
def test_options_of_the_url_are_kept(postgres_url: str, given: str) -> None:
    """Our options are added, and values with spaces stay whole."""
    url = psycopg.conninfo.make_conninfo(postgres_url, options=given)
    database = Database(url, "public")
    with closing(database.connect(application="test", owner=True, options={"datestyle": "ISO, DMY"})) as connection:
        rows = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in ("statement_timeout", "datestyle")]

    assert rows == [("7s" if given else "0",), ("ISO, DMY",)]
