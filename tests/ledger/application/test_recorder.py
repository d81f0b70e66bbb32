"""The store as `eventsourcing` sees it: the library's own test cases against our recorders, and cases of our own."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing import persistence
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import (
    InfrastructureFactory,
    InfrastructureFactoryError,
    Mapper,
    StoredEvent,
    Transcoder,
)
from eventsourcing.tests import persistence as library_cases
from eventsourcing.utils import Environment

from ledger.application.application import Ledger, project_account
from ledger.application.recorder import Datastore, LedgerFactory, LedgerRecorder, StreamRecorder
from ledger.audit.verify import verify_seals
from ledger.domain.commands import OpenAccount, RequestWithdrawal
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.store.database import Database
from ledger.store.serialization import LedgerMapper
from ledger.writer.writer import Writer


@pytest.fixture
def datastore(database: Database) -> Iterator[Datastore]:
    """Yield a pool of connections to a new ledger."""
    datastore = Datastore(database)
    yield datastore
    datastore.close()


class _OnFreshLedger:
    """Gives the library's test cases, which use unittest, a new ledger for each test."""

    datastore: Datastore

    @pytest.fixture(autouse=True)
    def _use(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def new_originator_id(self) -> UUID | str:
        return f"test-{uuid4()}"


class TestLedgerRecorder(_OnFreshLedger, library_cases.ApplicationRecorderTestCase[LedgerRecorder]):
    """The library's cases for recorders of an application's log, with its optional case for subscriptions."""

    def create_recorder(self) -> LedgerRecorder:
        return LedgerRecorder(self.datastore)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestSnapshotRecorder(_OnFreshLedger, library_cases.AggregateRecorderTestCase):
    """The library's cases for recorders of streams, run on the snapshots."""

    def create_recorder(self) -> StreamRecorder:
        return StreamRecorder(self.datastore, table="snapshots")


class TestInterleaving(_OnFreshLedger, library_cases.NonInterleavingNotificationIDsBaseCase):
    """The library's case for positions: those of one append are contiguous, even if others append at the same time."""

    insert_num = 1000

    def create_recorder(self) -> LedgerRecorder:
        return LedgerRecorder(self.datastore)


def stored(stream: str, version: int) -> StoredEvent:
    return StoredEvent(originator_id=stream, originator_version=version, topic="test.happened", state=b"{}")


def test_events_appended_by_the_recorder_are_sealed(database: Database, datastore: Datastore) -> None:
    """It shares its append with the writer, so its events are in the hash chain."""
    recorder = LedgerRecorder(datastore)

    recorder.insert_events([stored("test-1", 1), stored("test-1", 2)])
    recorder.insert_events([])
    recorder.insert_events([stored("test-2", 1)])

    report = verify_seals(database)
    assert (report.ok, report.events, report.position) == (True, 3, 3)


def test_a_conflict_leaves_no_gap(datastore: Datastore) -> None:
    """A refused append takes no position."""
    recorder = LedgerRecorder(datastore)
    recorder.insert_events([stored("test-1", 1)])

    with pytest.raises(persistence.IntegrityError):
        recorder.insert_events([stored("test-1", 2), stored("test-1", 1)])

    assert recorder.insert_events([stored("test-1", 2)]) == [2]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (psycopg.OperationalError, persistence.OperationalError),
        (psycopg.DataError, persistence.DataError),
        (psycopg.InterfaceError, persistence.InterfaceError),
        (psycopg.Error, persistence.PersistenceError),
    ],
)
def test_errors_are_those_of_the_library(
    datastore: Datastore, theirs: type[psycopg.Error], ours: type[persistence.PersistenceError]
) -> None:
    """A user of the library needs to know only its errors."""
    with pytest.raises(ours), datastore.connection():
        raise theirs("x")


def test_connections_that_died_in_the_pool_are_discarded(database: Database, datastore: Datastore) -> None:
    """The living ones stay."""
    ask = "SELECT pg_backend_pid()"
    with datastore.connection() as first, datastore.connection() as second:
        dead, living = first.execute(ask).fetchall(), second.execute(ask).fetchall()
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", dead[0])

    datastore.discard_lost_connections()

    with ExitStack() as taken:  # as many as the pool can have by now: it makes new ones for those that it discards
        connections = [taken.enter_context(datastore.connection()) for _ in range(4)]
        found = {connection.execute(ask).fetchall()[0] for connection in connections}
    assert living[0] in found
    assert dead[0] not in found


def test_a_lost_connection_ends_a_subscription_with_an_error(database: Database, datastore: Datastore) -> None:
    """A follower of the log gets an error, and does not wait for ever."""
    subscription = LedgerRecorder(datastore).subscribe()
    with closing(database.connect(application="test", owner=True)) as connection:
        while not connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s",
            [f'LISTEN "{database.schema}_log"'],
        ).fetchall():
            pass

    with pytest.raises(persistence.PersistenceError), subscription:
        next(subscription)

    assert not any(thread.name == "ledger-subscription" for thread in threading.enumerate())


def test_the_application_reads_what_the_writer_wrote(database: Database, writer: Writer) -> None:
    """The library's repository, notification log and snapshots are used, also for an earlier version."""
    writer.submit(OpenAccount(command_id="c", opening=Decimal(1000), currency="USD")).result(10)
    for _ in range(50):
        withdrawal = RequestWithdrawal(command_id="c", account_id=1, amount=Decimal(1), fee_rate_ppm=0)
        writer.submit(withdrawal).result(10)

    with Ledger(database) as ledger:
        account, earlier = ledger.account(1), ledger.account(1, version=11)
        payment = ledger.payment(1)
        section = ledger.notification_log["1,3"]
        snapshots = ledger.snapshots and list(ledger.snapshots.get("account-1"))

    assert (account.version, account.held_minor) == (51, 5_000)
    assert earlier.held_minor == 1_000
    assert (payment.state, payment.amount_minor) == ("new", 100)
    assert [item.topic for item in section.items] == ["account.opened", "payment.requested", "account.funds_held"]
    assert [snapshot.originator_version for snapshot in snapshots or []] == list(range(4, 51, 4))


def test_a_snapshot_of_another_shape_is_ignored(database: Database, writer: Writer) -> None:
    """The writer and the library both read the events instead."""
    writer.submit(OpenAccount(command_id="c", opening=Decimal(1000), currency="USD")).result(10)
    with closing(database.connect(application="test")) as connection:
        connection.execute("INSERT INTO snapshots VALUES ('account-1', 1, 'account.snapshot/0', '{}')")

    with Ledger(database) as ledger:
        by_the_library = ledger.account(1)
    other = Writer(database)
    other.start()
    withdrawal = RequestWithdrawal(command_id="c", account_id=1, amount=Decimal(1000), fee_rate_ppm=0)
    by_a_writer = other.submit(withdrawal).result(10)
    other.stop()

    assert by_the_library.posted_minor == 100_000
    assert not by_a_writer.refused


def test_the_application_takes_and_uses_snapshots_of_its_own(database: Database, writer: Writer) -> None:
    """The library's own method to take one works with our accounts."""
    writer.submit(OpenAccount(command_id="c", opening=Decimal(1000), currency="USD")).result(10)

    class WritingLedger(Ledger):
        env: ClassVar[dict[str, str]] = {**Ledger.env, "LEDGER_READS_ONLY": ""}

    with WritingLedger(database) as ledger:
        ledger.take_snapshot("account-1", projector_func=project_account)
        account = ledger.account(1)

    assert account.posted_minor == 100_000


def test_unknown_accounts_and_payments_raise_the_ledgers_errors(database: Database) -> None:
    """It raises the ledger's own errors."""
    with Ledger(database) as ledger:
        with pytest.raises(AccountNotFound):
            ledger.account(1)
        with pytest.raises(PaymentNotFound):
            ledger.payment(1)
        with pytest.raises(AggregateNotFoundError):
            ledger.repository.get("account-1", projector_func=project_account)


def test_the_application_does_not_write(database: Database) -> None:
    """Only the writer decides events."""
    with Ledger(database) as ledger, pytest.raises(TypeError):
        ledger.save()


def test_the_factory_creates_existing_recorders_only(database: Database) -> None:
    """It has none for tracking, because the read models do their own tracking."""
    env = {
        "PERSISTENCE_MODULE": "ledger.application.recorder",
        "DATABASE_URL": database.url,
        "LEDGER_SCHEMA": database.schema,
        "MAPPER_TOPIC": "ledger.store.serialization:LedgerMapper",
    }
    factory: InfrastructureFactory[Any] = InfrastructureFactory.construct(Environment("Ledger", env))
    transcoder: Transcoder = factory.transcoder()
    mapper: Mapper[str] = factory.mapper(transcoder)

    assert isinstance(factory, LedgerFactory)
    assert isinstance(mapper, LedgerMapper)
    assert isinstance(factory.application_recorder(), LedgerRecorder)
    assert isinstance(factory.aggregate_recorder(), LedgerRecorder)
    assert isinstance(factory.aggregate_recorder(purpose="snapshots"), StreamRecorder)
    with pytest.raises(InfrastructureFactoryError):
        factory.tracking_recorder()
    with pytest.raises(InfrastructureFactoryError):
        factory.process_recorder()
    factory.close()


def test_the_factory_needs_a_database() -> None:
    """Without an address the error names the missing setting."""
    with pytest.raises(InfrastructureFactoryError, match="DATABASE_URL"):
        LedgerFactory({})
