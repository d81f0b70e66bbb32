"""Tells the other processes that there is something new, and lets them wait for it.

A NOTIFY inside the writer's transaction would take a lock over the whole database at its commit, so it is sent
afterwards, by a thread with a connection of its own. The first one goes at once; what is asked for while it is on its
way, or right after it, goes as one more. A wake-up may get lost with a process or a connection: whoever waits also
looks by itself now and then.
"""

import threading
import time
from contextlib import suppress
from typing import Any, Final, Literal, LiteralString

import psycopg
from psycopg import sql

from ledger.database import Database
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "wakeup.sql")

GATHER_SECONDS: Final = 0.01
"""How long wake-ups gather after one was sent. Who hears one looks at all there is, and each costs time."""

Topic = Literal["log", "queue"]
"""`log`: events were appended. `queue`: the gateway queue has an entry that is due now."""


def channel(database: Database, topic: Topic) -> str:
    """The channel of a topic: one for each schema, as channels belong to the whole database."""
    return f"{database.schema}_{topic}"


def listen_statement(database: Database, topic: Topic) -> sql.Composed:
    """The statement that makes a connection hear a topic."""
    statement: LiteralString = SQL["listen"]
    return sql.SQL(statement).format(channel=sql.Identifier(channel(database, topic)))


def wake(connection: psycopg.Connection[Any], database: Database, *topics: Topic) -> None:
    """Wake whoever listens to these topics; inside a transaction, at its commit."""
    channels = [channel(database, topic) for topic in topics]
    connection.execute(SQL["notify"], {"channels": channels}, prepare=True)


class Notifier:
    """Sends wake-ups from a thread of its own, so that nobody waits for them."""

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
        """Send what is asked for and end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def notify(self, *topics: Topic) -> None:
        """Ask for a wake-up and go on."""
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
            # A wake-up that cannot be sent is not worth an error: the listeners poll.
            with suppress(psycopg.Error):
                self._send(topics)
            if not self._stopping:
                time.sleep(GATHER_SECONDS)

    def _send(self, topics: list[Topic]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect_to_repeat(application="payment-ledger notifier")
        wake(self._connection, self._database, *topics)
