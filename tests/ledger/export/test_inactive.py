"""An inactive store: an imported copy, to which no writer may append before it is activated."""

import asyncio
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from ledger.application.recorder import Datastore, LedgerRecorder
from ledger.domain.commands import Command, OpenAccount, RequestDeposit, RequestWithdrawal, RequeuePayment
from ledger.errors import StoreInactive
from ledger.store.database import Database
from ledger.writer.writer import Writer

OPENING = OpenAccount(command_id="open", opening=Decimal(10), currency="USD", idempotency_key="k")


def withhold(database: Database, *, inactive: bool = True) -> None:
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute("UPDATE log_head SET inactive = %s", [inactive])


def last_position(database: Database) -> int:
    with closing(database.connect(application="test")) as connection:
        row = connection.execute("SELECT position FROM log_head").fetchone()
    assert row is not None
    position: int = row[0]
    return position


@pytest.fixture
def copy(database: Database, writer: Writer) -> Database:
    """Yield a ledger with an account, which became inactive after its writer had cached the account."""
    writer.submit(OPENING).result(10)
    withhold(database)
    return database


@pytest.mark.parametrize(
    "command",
    [
        OpenAccount(command_id="c", opening=Decimal(10), currency="USD"),
        RequestDeposit(command_id="c", account_id=1, amount=Decimal(1), fee_rate_ppm=0),
        RequestWithdrawal(command_id="c", account_id=1, amount=Decimal(100), fee_rate_ppm=0),
        RequestDeposit(command_id="c", account_id=99, amount=Decimal(1), fee_rate_ppm=0),
        RequeuePayment(command_id="c", payment_id=1, why="x"),
        OPENING,
    ],
    ids=lambda command: type(command).__name__,
)
def test_every_command_is_refused(copy: Database, writer: Writer, command: Command[Any]) -> None:
    """This includes commands that would append nothing, because only the active store may answer them."""
    with pytest.raises(StoreInactive):
        writer.submit(command).result(10)

    assert last_position(copy) == 1


def test_commands_are_accepted_once_the_store_is_active(copy: Database, writer: Writer) -> None:
    """A writer that was refused before needs no restart."""
    with pytest.raises(StoreInactive):
        writer.submit(OPENING).result(10)

    withhold(copy, inactive=False)

    assert writer.submit(OPENING).result(10).replayed
    assert writer.submit(OpenAccount(command_id="c", opening=Decimal(1), currency="USD")).result(10).account_id == 2


def test_a_writer_knows_that_it_cannot_write_to_a_copy(copy: Database, writer: Writer) -> None:
    """It says so whether a command was refused or it was only asked, and is fit again once the store is active."""
    with pytest.raises(StoreInactive):
        writer.submit(OPENING).result(10)
    after_a_command = writer.trouble
    when_asked = asyncio.run(writer.can_write())

    withhold(copy, inactive=False)

    assert (after_a_command, when_asked) == (str(StoreInactive()), False)
    assert asyncio.run(writer.can_write())
    assert writer.trouble is None


def test_the_librarys_recorder_is_refused_too(copy: Database) -> None:
    """It shares its append with the writer."""
    datastore = Datastore(copy)
    event = StoredEvent(originator_id="test-1", originator_version=1, topic="test.happened", state=b"{}")

    with pytest.raises(StoreInactive):
        LedgerRecorder(datastore).insert_events([event])

    datastore.close()
    assert last_position(copy) == 1
