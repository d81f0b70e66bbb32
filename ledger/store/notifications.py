"""Wakes other processes when events were appended or a queue entry is due, and lets them listen for that.

A NOTIFY inside the writer's transaction would take a lock over the whole database at commit, so a separate thread with
its own connection sends it afterwards. The thread sends the first wake-up at once and coalesces those that are
requested while it sends, or within 10 ms after it. A wake-up may be lost with a process or a connection, so every
listener also polls.
"""

import threading
import time
from contextlib import suppress
from typing import Any, Final, Literal, LiteralString

import psycopg
from psycopg import sql

from ledger.errors import StoreBroken
from ledger.micro_batch import NEWS
from ledger.sessions.answer_limit import answer_within
from ledger.store.database import Database
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "notifications.sql")

ANSWER_SECONDS_MAX: Final = 5.0
"""How long the server may take to send wake-ups; their connection is then cut, and the next one makes another."""

Topic = Literal["log", "queue"]
"""`log`: events were appended. `queue`: the gateway queue has an entry that is due now."""


def channel(database: Database, topic: Topic) -> str:
    """Return the name of a topic's channel. It contains the schema, as channels belong to the whole database."""
    return f"{database.schema}_{topic}"


def listen_statement(database: Database, topic: Topic) -> sql.Composed:
    """Return the LISTEN statement of a topic."""
    statement: LiteralString = SQL["listen"]
    return sql.SQL(statement).format(channel=sql.Identifier(channel(database, topic)))


def wake(connection: psycopg.Connection[Any], database: Database, *topics: Topic) -> None:
    """Wake the listeners of these topics; inside a transaction, Postgres does so at commit. Raises psycopg.Error."""
    channels = [channel(database, topic) for topic in topics]
    connection.execute(SQL["notify"], {"channels": channels}, prepare=True)


class Notifier:
    """Sends wake-ups from its own thread, so that callers do not wait for them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: set[Topic] = set()
        self._wake = threading.Condition()
        self._stopping = False
        self._connection: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-notifier", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send the requested wake-ups, end the thread and close its connection."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def notify(self, *topics: Topic) -> None:
        """Request a wake-up and return at once."""
        with self._wake:
            self._asked.update(topics)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._asked and not self._stopping:
                    self._wake.wait()
                topics = sorted(self._asked)
                self._asked.clear()
            if not topics:
                return
            # A wake-up that cannot be sent is dropped without an error, because the listeners also poll.
            with suppress(psycopg.Error, StoreBroken):
                self._send(topics)
            if not self._stopping:
                time.sleep(NEWS.pause_seconds)

    def _send(self, topics: list[Topic]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect_to_repeat(application="payment-ledger notifier")
        with answer_within(self._connection, ANSWER_SECONDS_MAX):
            wake(self._connection, self._database, *topics)
