"""A store that tests may damage: a copy of its tables is kept beside it and restored after each test."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, get_args

from psycopg import Connection

from ledger.audit.findings import AuditReport
from ledger.domain.decision import QueueAction
from ledger.domain.events import EVENT_BY_TOPIC
from ledger.store.database import Database
from ledger.store.hash_chain import seal_rows
from ledger.store.log import Row
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.ledgers.busy import fill

TABLES: Final = (
    "ledger_identity",
    "log_head",
    "events",
    "snapshots",
    "idempotency_keys",
    "gateway_queue",
    "gateway_state",
)


class KeptStore:
    """A busy ledger, and a connection as its owner, who may change anything."""

    def __init__(self, database: Database, connection: Connection[Any]) -> None:
        self.database = database
        self.events: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]  # type: ignore[index]
        self._connection = connection
        for table in TABLES:
            self.run(f"CREATE TABLE kept_{table} AS TABLE {table}")

    def run(self, *statements: str, **parameters: Any) -> None:
        """Run statements that the service's role may not run."""
        for statement in statements:
            self._connection.execute(statement.encode(), parameters or None)

    def ask(self, statement: str, **parameters: Any) -> list[Any]:
        """Run a query."""
        return self._connection.execute(statement.encode(), parameters or None).fetchall()

    def restore(self) -> None:
        """Restore all tables."""
        with self._connection.transaction():
            for table in TABLES:
                self.run(f"DELETE FROM {table}", f"INSERT INTO {table} TABLE kept_{table}")


@contextmanager
def kept_store(url: str) -> Iterator[KeptStore]:
    """Create a ledger with events of every kind, and entries of every kind in the gateway queue."""
    with fresh_ledger(url) as database:
        writer = Writer(database)
        writer.start()
        fill(writer)
        writer.stop()
        with closing(database.connect(application="test", owner=True)) as connection:
            store = KeptStore(database, connection)
            assert {topic for (topic,) in store.ask("SELECT DISTINCT topic FROM events")} == set(EVENT_BY_TOPIC)
            assert {action for (action,) in store.ask("SELECT action FROM gateway_queue")} == set(get_args(QueueAction))
            yield store


def found(report: AuditReport) -> list[tuple[int, str]]:
    """List an audit's findings with their positions."""
    return [(error.position, error.what) for error in report.errors]


def where(report: AuditReport) -> list[int]:
    """List the positions of an audit's findings."""
    return [error.position for error in report.errors]


def rewrite(store: KeptStore, position: int, state: bytes | None = None) -> None:
    """Change an event, and recompute its seal and all seals after it.

    Without a state, the decision of the event gets another command id, which no rule can find.
    """
    stored = store.ask("SELECT originator_id, originator_version, topic, state FROM events ORDER BY notification_id")
    rows = [Row(*row) for row in stored]
    changed = [rows[position - 1]] if state else [row for row in rows if _at(row) == _at(rows[position - 1])]
    rows = [row._replace(state=state or _of_another_command(row)) if row in changed else row for row in rows]
    ((first,),) = store.ask("SELECT sha256(uuid_send(ledger_id)) FROM ledger_identity")
    for place, (row, digest) in enumerate(zip(rows, seal_rows(first, 0, rows), strict=True), start=1):
        store.run(
            "UPDATE events SET state = %(state)s, digest = %(digest)s WHERE notification_id = %(place)s",
            state=row.state,
            digest=digest,
            place=place,
        )
    store.run("UPDATE log_head SET digest = e.digest FROM events AS e WHERE e.notification_id = log_head.position")


def _at(row: Row) -> str:
    """Return the time of an event, which all events of one decision share."""
    at: str = json.loads(row.state)["at"]
    return at


def _of_another_command(row: Row) -> bytes:
    return row.state.replace(b'"command_id":"', b'"command_id":"x')
