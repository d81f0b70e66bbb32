"""The ledger's store as a persistence module of `eventsourcing`.

`LedgerRecorder` is the library's application recorder over the same tables that the writer writes, and appends through
the same `ledger.log.append`: positions come from the head's row, without gaps and in the order of their commits, and
each event is sealed. The stock recorder's table lock, triggers and per-save retry have no place here; an append whose
COMMIT gets no answer is reported as an OperationalError and not tried again, since it may have happened.

Settings, as the library's factories read them from their environment: `DATABASE_URL` and `LEDGER_SCHEMA`.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from uuid import UUID

import psycopg
from eventsourcing import persistence
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType
from psycopg import sql
from psycopg_pool import ConnectionPool

from ledger.database import Database
from ledger.log import SQL as LOG
from ledger.log import Head, Row, append, locked_head, row_columns
from ledger.mapper import SNAPSHOT_TOPIC
from ledger.sql import load_statements
from ledger.wakeup import listen_statement, wake

SQL: Final = load_statements("ledger", "persistence.sql")

_POOL_SIZE_MAX: Final = 10
_LISTEN_SECONDS: Final = 0.1

_ERRORS: Final[tuple[tuple[type[psycopg.Error], type[persistence.PersistenceError]], ...]] = (
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
)


class Datastore:
    """A pool of connections to the ledger's schema, opened with its first use."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._pool = ConnectionPool(
            database.conninfo(application="payment-ledger eventsourcing"),
            min_size=0,
            max_size=_POOL_SIZE_MAX,
            open=False,
            kwargs={"autocommit": True},
        )
        self._opening = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection; psycopg's errors come out as the library's."""
        with self._opening:
            if self._pool.closed:
                self._pool.open()
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()


class StreamRecorder(AggregateRecorder):
    """Reads streams of one table, the events or the snapshots, and writes snapshots; of one topic only, if wished."""

    def __init__(self, datastore: Datastore, *, table: str, topic: str | None = None) -> None:
        self._datastore = datastore
        self._table = table
        self._topic = topic

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Write snapshots; they have no positions. Raises IntegrityError for a version that is there."""
        del kwargs
        with self._datastore.connection() as connection:
            connection.execute(LOG["insert_snapshots"], row_columns(_rows(stored_events)))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Read a stream, or the part of it between two versions, in either direction."""
        statement = sql.SQL(SQL["select_events"]).format(
            table=sql.Identifier(self._table), direction=sql.SQL("DESC" if desc else "ASC")
        )
        parameters = {"originator_id": str(originator_id), "gt": gt, "lte": lte, "limit": limit, "topic": self._topic}
        with self._datastore.connection() as connection:
            return [StoredEvent(*row) for row in connection.execute(statement, parameters, binary=True)]


class LedgerRecorder(StreamRecorder, ApplicationRecorder):
    """The library's application recorder on the ledger's log."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore, table="events")

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Append events in one transaction and give their positions.

        Raises IntegrityError when one of the versions is there; then none of them is written.
        """
        del kwargs
        if not stored_events:
            return []
        with self._datastore.connection() as connection:
            head, moved = _append(connection, _rows(stored_events))
            wake(connection, self._datastore.database, "log")
        return list(range(head.position + 1, moved.position + 1))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Read a part of the log by position."""
        first = start if start is None or inclusive_of_start else start + 1
        parameters = {"start": first, "stop": stop, "topics": list(topics) or None, "limit": limit}
        with self._datastore.connection() as connection:
            return [
                Notification(*row) for row in connection.execute(SQL["select_notifications"], parameters, binary=True)
            ]

    def max_notification_id(self) -> int | None:
        """Give the last position, or None for an empty log."""
        with self._datastore.connection() as connection:
            row = connection.execute(SQL["max_notification_id"]).fetchone()
        return None if row is None else row[0]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LedgerSubscription":
        """Follow the log from a position on, waiting for what is appended."""
        return LedgerSubscription(self, self._datastore, gt=gt, topics=topics)


class LedgerSubscription(ListenNotifySubscription[LedgerRecorder]):
    """Follows the log, woken by the wake-ups that the writers send."""

    def __init__(
        self, recorder: LedgerRecorder, datastore: Datastore, *, gt: int | None, topics: Sequence[str]
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._datastore = datastore
        self._listening = threading.Thread(target=self._listen, name="ledger-subscription", daemon=True)
        self._listening.start()

    def __exit__(self, *args: object, **kwargs: object) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listening.join()

    def _listen(self) -> None:
        try:
            with self._datastore.connection() as connection:
                connection.execute(listen_statement(self._datastore.database, "log"))
                while not self._has_been_stopped:
                    for _ in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                        self._has_been_notified.set()
        except persistence.PersistenceError as error:
            self._thread_error = self._thread_error or error
            self.stop()


class LedgerFactory(InfrastructureFactory[TrackingRecorder]):
    """Makes the recorders. There are none for tracking: the read models keep their own (`projections`)."""

    DATABASE_URL: Final = "DATABASE_URL"
    LEDGER_SCHEMA: Final = "LEDGER_SCHEMA"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        url = self.env.get(self.DATABASE_URL)
        if not url:
            raise InfrastructureFactoryError("DATABASE_URL is not set")
        self.datastore = Datastore(Database(url, self.env.get(self.LEDGER_SCHEMA) or "ledger"))

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Make a recorder that reads streams, of events or of snapshots."""
        if purpose == "events":
            return self.application_recorder()
        return StreamRecorder(self.datastore, table=purpose, topic=SNAPSHOT_TOPIC)

    def application_recorder(self) -> ApplicationRecorder:
        """Make the recorder of the log."""
        return LedgerRecorder(self.datastore)

    def tracking_recorder(self, tracking_recorder_class: type[TrackingRecorder] | None = None) -> NoReturn:
        """Refuse: the read models' tracking is written in their own transactions."""
        del tracking_recorder_class
        raise InfrastructureFactoryError("the ledger's read models keep their own tracking")

    def process_recorder(self) -> ProcessRecorder:
        """Refuse, as tracking_recorder does."""
        raise InfrastructureFactoryError("the ledger's read models keep their own tracking")

    def close(self) -> None:
        """Close the connections."""
        self.datastore.close()


def _translated(error: psycopg.Error) -> persistence.PersistenceError:
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(str(error))
    return persistence.PersistenceError(str(error))


def _append(connection: psycopg.Connection[Any], rows: list[Row]) -> tuple[Head, Head]:
    """Append in a transaction of its own; the head before and after."""
    with connection.pipeline():
        connection.execute(LOG["begin"])
        answer = connection.execute(LOG["lock_head_to_append"], binary=True)
    try:
        head, clock = locked_head(answer)
        with connection.pipeline():
            at = max(clock, head.at)
            moved = Head(head.position, head.digest, at, head.next_account_id, head.next_payment_sequence)
            appending = append(connection, head, rows, moved=moved)
        reached = appending.check()
    except BaseException:
        connection.rollback()
        raise
    connection.execute(LOG["commit"])
    return head, reached


def _rows(stored_events: Sequence[StoredEvent]) -> list[Row]:
    return [Row(str(e.originator_id), e.originator_version, e.topic, e.state) for e in stored_events]
