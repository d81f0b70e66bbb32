"""A store that tests may spoil: what it held is kept beside it and comes back after each of them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from psycopg import Connection

from ledger.database import Database
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
