"""The ledger's store as a persistence module of `eventsourcing`.

`LedgerRecorder` is the library's application recorder on the tables that the writer writes. It appends through the same
`ledger.store.log.append`: positions come from the head's row, without gaps and in commit order, and each event is
sealed. It does not use the stock recorder's table lock, triggers or retries. An append whose COMMIT gets no answer
raises OperationalError and is not retried, since it may have been committed.

The library's factories read these settings from their environment: `DATABASE_URL`, `LEDGER_SCHEMA` (default `ledger`),
and `LEDGER_READS_ONLY` (any text: the sessions may not write).
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn
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

from ledger.sessions.answer_limit import answer_within
from ledger.store.database import BY_INDEX, Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, Row, append, locked_head, row_columns
from ledger.store.notifications import listen_statement, wake
from ledger.store.serialization import SNAPSHOT_TOPIC
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.application", "recorder.sql")

CONNECTIONS_MAX: Final = 8
"""The most connections that one application opens."""

ANSWER_SECONDS_MAX: Final = 8.0
"""How long the server may take for one use of a connection. Longer than its own limit on a statement of a reader."""

_CHECK_SECONDS_MAX: Final = 1.0
_CONNECTION_WAIT_SECONDS: Final = 2.0
_RECONNECT_SECONDS: Final = 0.5
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


_READING: Final = {**BY_INDEX, "default_transaction_read_only": "on", "statement_timeout": "6s"}
"""Settings of the sessions of an application that only reads."""


class PlacedEvent(NamedTuple):
    """A stored event of a stream, and its position in the log."""

    position: int
    stored: StoredEvent


class Datastore:
    """A pool of connections to the ledger's schema, opened on first use; with `reads_only`, sessions may not write."""

    def __init__(self, database: Database, *, reads_only: bool = False) -> None:
        self.database = database
        options = _READING if reads_only else None
        self._pool = _Pool(
            database.conninfo(application="payment-ledger eventsourcing", options=options),
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=_CONNECTION_WAIT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
            kwargs={"autocommit": True},
            configure=database.prover(options=options),
        )
        self._opening = threading.Lock()

    def discard_lost_connections(self) -> None:
        """Close the pool's connections that died with their server."""
        self._pool.check()

    @contextmanager
    def connection(self, *, within_seconds: float | None = ANSWER_SECONDS_MAX) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection of the pool, and cut it when the server does not answer in time.

        Raises psycopg's errors as those of the library.
        """
        with self._opening:
            if self._pool.closed:
                self._pool.open()
        try:
            with self._pool.connection() as connection:
                if within_seconds is None:
                    yield connection
                else:
                    with answer_within(connection, within_seconds):
                        yield connection
        except psycopg.Error as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()


class _Pool(ConnectionPool[psycopg.Connection[Any]]):
    """A pool whose check of its idle connections cannot hang."""

    @staticmethod
    def check_connection(conn: psycopg.Connection[Any]) -> None:
        with answer_within(conn, _CHECK_SECONDS_MAX):
            ConnectionPool.check_connection(conn)


class StreamRecorder(AggregateRecorder):
    """Reads streams of one table, events or snapshots, and writes snapshots; with `topic`, only rows of that topic."""

    def __init__(self, datastore: Datastore, *, table: str, topic: str | None = None) -> None:
        self._datastore = datastore
        self._table = table
        self._topic = topic

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Write snapshots, which have no positions. Raises IntegrityError for a version that exists."""
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
            rows = connection.execute(statement, parameters, prepare=True, binary=True).fetchall()
        return [StoredEvent(*row) for row in rows]


class LedgerRecorder(StreamRecorder, ApplicationRecorder):
    """The library's application recorder on the ledger's log."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore, table="events")

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        """Append events in one transaction and return their positions.

        Raises IntegrityError when one of the versions exists; then no event is written.
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
            rows = connection.execute(SQL["select_notifications"], parameters, prepare=True, binary=True).fetchall()
        return [Notification(*row) for row in rows]

    def select_placed(
        self, originator_id: str, *, gt: int = 0, lte: int | None = None, limit: int
    ) -> list[PlacedEvent]:
        """Read a part of a stream with the events' positions in the log, which the library's own method leaves out."""
        parameters = {"originator_id": originator_id, "gt": gt, "lte": lte, "limit": limit}
        with self._datastore.connection() as connection:
            rows = connection.execute(SQL["select_placed"], parameters, prepare=True, binary=True).fetchall()
        return [PlacedEvent(position, StoredEvent(*row)) for position, *row in rows]

    def max_notification_id(self) -> int | None:
        """Return the last position, or None for an empty log."""
        with self._datastore.connection() as connection:
            row = connection.execute(SQL["max_notification_id"]).fetchone()
        return None if row is None else row[0]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LedgerSubscription":
        """Follow the log from a position on, and wait for new events."""
        return LedgerSubscription(self, self._datastore, gt=gt, topics=topics)


class LedgerSubscription(ListenNotifySubscription[LedgerRecorder]):
    """Follows the log; the writers' notifications wake it."""

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
            with self._datastore.connection(within_seconds=None) as connection:
                connection.execute(listen_statement(self._datastore.database, "log"))
                while not self._has_been_stopped:
                    for _ in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                        self._has_been_notified.set()
        except persistence.PersistenceError as error:
            self._thread_error = self._thread_error or error
            self.stop()


class LedgerFactory(InfrastructureFactory[TrackingRecorder]):
    """Makes the recorders, except tracking recorders: the read models keep their own tracking (`projections`)."""

    DATABASE_URL: Final = "DATABASE_URL"
    LEDGER_SCHEMA: Final = "LEDGER_SCHEMA"
    READS_ONLY: Final = "LEDGER_READS_ONLY"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        url = self.env.get(self.DATABASE_URL)
        if not url:
            raise InfrastructureFactoryError("DATABASE_URL is not set")
        database = Database(url, self.env.get(self.LEDGER_SCHEMA) or "ledger")
        self.datastore = Datastore(database, reads_only=bool(self.env.get(self.READS_ONLY)))

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Make a recorder that reads streams of events or snapshots."""
        if purpose == "events":
            return self.application_recorder()
        return StreamRecorder(self.datastore, table=purpose, topic=SNAPSHOT_TOPIC)

    def application_recorder(self) -> ApplicationRecorder:
        """Make the recorder of the log."""
        return LedgerRecorder(self.datastore)

    def tracking_recorder(self, tracking_recorder_class: type[TrackingRecorder] | None = None) -> NoReturn:
        """Refuse, because the read models write their tracking in their own transactions."""
        del tracking_recorder_class
        raise InfrastructureFactoryError("the ledger's read models keep their own tracking")

    def process_recorder(self) -> ProcessRecorder:
        """Refuse, for the same reason as `tracking_recorder`."""
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
    """Append in one transaction, and return the head before and after it."""
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
