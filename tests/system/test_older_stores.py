"""Stores of earlier versions are read, verified, rebuilt, exported byte for byte, and continued."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import RequestDeposit, RequestWithdrawal
from ledger.errors import SchemaOlder
from ledger.export.exporter import export_to_stream
from ledger.store.database import Database
from ledger.store.migrate import check_schema, migrate
from ledger.writer.writer import Writer
from projections.engine.projector import Projector
from projections.engine.rebuild import rebuild
from projections.models.registry import FOLLOWERS
from tests.support.ledgers.busy import BusyLedger
from tests.support.stores import BEFORE_THE_ROOMS, exported, stored

WITHIN_SECONDS = 30.0
EVENTS = 378
"""How many events the earlier version recorded."""

NEW_MODELS = {"payment_end"}
"""The read models that came after it, whose events were recorded before."""


@pytest.fixture
def older(postgres_url: str) -> Iterator[Database]:
    """Yield the store as the earlier version left it."""
    with stored(postgres_url, BEFORE_THE_ROOMS) as database:
        yield database


@pytest.fixture
def migrated(older: Database) -> Database:
    """Return the store after this version's migrations."""
    migrate(older, followers=FOLLOWERS)
    return older


def events_of(database: Database) -> list[tuple[object, ...]]:
    with closing(database.connect(application="test", owner=True)) as connection:
        return connection.execute("SELECT * FROM events ORDER BY notification_id").fetchall()


def test_an_older_store_is_named_and_migrated_without_a_change_to_its_log(older: Database) -> None:
    """Events, seals and positions stay as the earlier version wrote them."""
    before = events_of(older)
    with pytest.raises(SchemaOlder, match="payment-ledger migrate"):
        check_schema(older)

    migrate(older, followers=FOLLOWERS)

    check_schema(older)
    assert len(before) == EVENTS
    assert events_of(older) == before


def test_an_older_store_is_verified(migrated: Database) -> None:
    """The audit checks its seals, streams, keys, snapshots and queue."""
    report = verify_store(migrated)

    assert (report.ok, report.events, report.errors) == (True, EVENTS, [])


def test_an_older_store_is_exported_byte_for_byte(migrated: Database) -> None:
    """The file equals the export of the earlier version."""
    written = io.BytesIO()

    export_to_stream(migrated, written)

    assert written.getvalue() == exported(BEFORE_THE_ROOMS)


def test_the_read_models_of_an_older_store_are_those_of_its_log(migrated: Database) -> None:
    """Its migrated read models equal those of a rebuild, which fills those that the earlier version did not have."""
    compared = rebuild(migrated)
    rebuilt = rebuild(migrated)

    assert {each.table for each in compared.differences if each.differing} == NEW_MODELS
    assert rebuilt.clean


def test_an_older_store_is_read_and_continued(migrated: Database) -> None:
    """Keys give their first answers, accounts continue from their balances, and the audit finds no error."""
    writer = Writer(migrated)
    writer.start()
    busy = BusyLedger(writer)
    with Ledger(migrated) as ledger:
        before = ledger.account(1)
        replayed = busy.deposit(1, key="approved")
        paid_out = busy.withdraw(1, key="paid out")
        busy.call(busy.deposit(1, "200"), "approved", BusyLedger.succeed)
        after = ledger.account(1)
    writer.stop()

    assert (replayed.replayed, replayed.payment_id) == (True, 1025)
    assert paid_out.replayed
    assert after.posted_minor == before.posted_minor + 19_600
    assert verify_store(migrated).ok


def test_an_older_store_is_followed_by_a_projector(migrated: Database) -> None:
    """The projector continues at the position of the earlier version's projector.

    A read model that the earlier version did not have stays empty until a rebuild, which the projector asks for.
    """
    writer = Writer(migrated)
    writer.start()
    deposit = RequestDeposit(command_id="d", account_id=1, amount=Decimal(7), fee_rate_ppm=0)
    withdrawal = RequestWithdrawal(command_id="w", account_id=2, amount=Decimal(7), fee_rate_ppm=0)
    asked = [writer.submit(command).result(WITHIN_SECONDS).payment_id for command in (deposit, withdrawal)]
    writer.stop()
    projector = Projector(migrated, poll_interval_seconds=0.05)
    thread = threading.Thread(target=projector.run)
    thread.start()
    try:
        with closing(migrated.connect(application="test")) as connection:
            count = "SELECT count(*) FROM payment_status WHERE payment_id = ANY (%s)"
            deadline = time.monotonic() + WITHIN_SECONDS
            while connection.execute(count, [asked]).fetchone() != (2,):
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        projector.stop()
        thread.join()

    compared = rebuild(migrated, check_only=True)
    assert {each.table for each in compared.differences if each.differing} == NEW_MODELS
