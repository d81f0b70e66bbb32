"""A store that is withheld: an imported copy, to which nobody may append before it is taken over."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from ledger.commands import Command, OpenAccount, RequestDeposit, RequestWithdrawal, RequeuePayment
from ledger.database import Database
from ledger.errors import StoreWithheld
from ledger.persistence import Datastore, LedgerRecorder
from ledger.writer import Writer

OPENING = OpenAccount(command_id="open", opening=Decimal(10), currency="USD", idempotency_key="k")


def withhold(database: Database, *, withheld: bool = True) -> None:
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute("UPDATE head SET withheld = %s", [withheld])


def last_position(database: Database) -> int:
    with closing(database.connect(application="test")) as connection:
        row = connection.execute("SELECT position FROM head").fetchone()
    assert row is not None
    position: int = row[0]
    return position


@pytest.fixture
def copy(database: Database, writer: Writer) -> Database:
    """A ledger with an account, withheld after its writer had come to know it."""
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
    """Also those that would append nothing: what they are answered is for the store in charge to say."""
    with pytest.raises(StoreWithheld):
        writer.submit(command).result(10)

    assert last_position(copy) == 1


def test_commands_are_taken_as_soon_as_the_store_is_in_charge(copy: Database, writer: Writer) -> None:
    """By a writer that was refused before, without a restart."""
    with pytest.raises(StoreWithheld):
        writer.submit(OPENING).result(10)

    withhold(copy, withheld=False)

    assert writer.submit(OPENING).result(10).replayed
    assert writer.submit(OpenAccount(command_id="c", opening=Decimal(1), currency="USD")).result(10).account_id == 2


def test_the_librarys_recorder_is_refused_too(copy: Database) -> None:
    """It shares its append with the writer."""
    datastore = Datastore(copy)
    event = StoredEvent(originator_id="test-1", originator_version=1, topic="test.happened", state=b"{}")

    with pytest.raises(StoreWithheld):
        LedgerRecorder(datastore).insert_events([event])

    datastore.close()
    assert last_position(copy) == 1
