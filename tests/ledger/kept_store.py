"""A store that tests may spoil: what it held is kept beside it and comes back after each of them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from psycopg import Connection

from ledger.audit_findings import AuditReport
from ledger.database import Database
from ledger.log import Row
from ledger.seal import seal_rows
from ledger.writer import Writer
from tests.databases import fresh_ledger
from tests.ledger.busy_ledger import fill

TABLES: Final = ("identity", "head", "events", "snapshots", "idempotency_keys", "gateway_queue")


class KeptStore:
    """A busy ledger, and a connection of its owner's, who may do anything to it."""

    def __init__(self, database: Database, connection: Connection[Any]) -> None:
        self.database = database
        self.events: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]  # type: ignore[index]
        self._connection = connection
        for table in TABLES:
            self.run(f"CREATE TABLE kept_{table} AS TABLE {table}")

    def run(self, *statements: str, **parameters: Any) -> None:
        """Do what the service may not do."""
        for statement in statements:
            self._connection.execute(statement.encode(), parameters or None)

    def ask(self, statement: str, **parameters: Any) -> list[Any]:
        """Read anything."""
        return self._connection.execute(statement.encode(), parameters or None).fetchall()

    def restore(self) -> None:
        """Bring back all that was there."""
        with self._connection.transaction():
            for table in TABLES:
                self.run(f"DELETE FROM {table}", f"INSERT INTO {table} TABLE kept_{table}")


@contextmanager
def kept_store(url: str) -> Iterator[KeptStore]:
    """Make a ledger to which a bit of everything has happened."""
    with fresh_ledger(url) as database:
        writer = Writer(database)
        writer.start()
        fill(writer)
        writer.stop()
        with closing(database.connect(application="test", owner=True)) as connection:
            yield KeptStore(database, connection)


def found(report: AuditReport) -> list[tuple[int, str]]:
    """What an audit has found, and where."""
    return [(error.position, error.what) for error in report.errors]


def where(report: AuditReport) -> list[int]:
    """Where an audit has found something."""
    return [error.position for error in report.errors]


def rewrite(store: KeptStore, position: int, state: bytes | None = None) -> None:
    """Change an event, and seal it and all after it anew."""
    other = state
    rows = [
        Row(stream, version, topic, (other or state + b" ") if place == position else state)
        for stream, version, topic, state, place in store.ask(
            "SELECT originator_id, originator_version, topic, state, notification_id FROM events ORDER BY 5"
        )
    ]
    ((first,),) = store.ask("SELECT sha256(uuid_send(ledger_id)) FROM identity")
    for place, (row, digest) in enumerate(zip(rows, seal_rows(first, 0, rows), strict=True), start=1):
        store.run(
            "UPDATE events SET state = %(state)s, digest = %(digest)s WHERE notification_id = %(place)s",
            state=row.state,
            digest=digest,
            place=place,
        )
    store.run("UPDATE head SET digest = e.digest FROM events AS e WHERE e.notification_id = head.position")
