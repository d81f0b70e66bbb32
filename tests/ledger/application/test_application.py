"""Reading accounts and payments through `eventsourcing`, beside the writer."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest

from ledger.application.application import Ledger
from ledger.domain.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.domain.events import FundsHeld
from ledger.errors import AccountNotFound, DatabaseUnavailable, LogBroken, PaymentNotFound
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ports import free_port


@pytest.fixture
def long_account(writer: Writer) -> None:
    """Yield an account of 1000.00 that holds a cent more with each of 249 withdrawals, and another user's payment."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1000), currency="USD")).result(10)
    writer.submit(OpenAccount(command_id="b", opening=Decimal(5), currency="USD")).result(10)
    writer.submit(RequestDeposit(command_id="c", account_id=2, amount=Decimal(1), fee_rate_ppm=0)).result(10)
    for n in range(249):
        withdrawal = RequestWithdrawal(command_id=f"w{n}", account_id=1, amount=Decimal("0.01"), fee_rate_ppm=0)
        writer.submit(withdrawal).result(10)


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """Yield the application on that ledger."""
    with Ledger(database) as ledger:
        yield ledger


@pytest.mark.usefixtures("long_account")
def test_an_account_is_read_from_its_snapshot_on(ledger: Ledger) -> None:
    """The current version and an earlier one are read."""
    now, earlier = ledger.account(1), ledger.account(1, version=150)

    assert (now.version, now.held_minor) == (250, 249)
    assert (earlier.version, earlier.held_minor) == (150, 149)


@pytest.mark.usefixtures("long_account")
def test_an_account_has_a_state_at_every_position(ledger: Ledger) -> None:
    """The state at a position follows from the account's events up to there."""
    expected: dict[int, tuple[int, int]] = {}
    held, since, own = 0, 1, {placed.position: placed.recorded for placed in ledger.stream("account-1")}
    for position in range(1, 502):
        if position in own and isinstance(own[position].data, FundsHeld):
            held, since = held + own[position].data.amount_minor, position
        expected[position] = (held, since)

    found = {position: ledger.account_at(1, position=position) for position in range(1, 502, 25)}

    for position, seen in found.items():
        assert seen is not None
        assert (seen.account.held_minor, seen.position) == expected[position]


@pytest.mark.usefixtures("long_account")
def test_an_account_has_a_state_at_every_time(ledger: Ledger) -> None:
    """An event counts from its own time on."""
    at = list(ledger.stream("account-1"))[150].recorded.at
    at_it, before = ledger.account_at(1, at=at), ledger.account_at(1, at=at - timedelta(microseconds=1))

    assert at_it is not None
    assert before is not None
    assert before.account.held_minor < at_it.account.held_minor
    assert at_it.at <= at


def test_unknown_accounts_and_payments_are_not_found(ledger: Ledger, writer: Writer) -> None:
    """Unknown users and payments are not found, and an account has no state before it was opened."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1), currency="USD")).result(10)

    for read in (ledger.account, lambda _: ledger.account_at(2, position=1), lambda _: list(ledger.replay_account(2))):
        with pytest.raises(AccountNotFound):
            read(2)
    for ask in (ledger.payment, ledger.payment_history, lambda number: list(ledger.replay_payment(number))):
        with pytest.raises(PaymentNotFound):
            ask(1)
    assert ledger.account_at(1, position=0) is None


@pytest.mark.usefixtures("long_account")
def test_a_payment_is_read_with_its_history(ledger: Ledger) -> None:
    """Each event has its position."""
    payment, history = ledger.payment(2), ledger.payment_history(2)

    assert (payment.account_id, payment.state) == (2, "new")
    assert [(position, recorded.command_id) for position, recorded in history] == [(3, "c")]


@pytest.mark.usefixtures("long_account")
def test_a_balance_is_explained_event_by_event(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is the current state, and pages continue each other."""
    monkeypatch.setattr("ledger.application.application.PAGE", 7)

    steps = list(ledger.replay_account(1))

    assert [step.recorded.originator_version for step in steps] == list(range(1, 251))
    assert [step.account.held_minor for step in steps] == list(range(250))
    assert steps[-1].account == ledger.account(1)
    assert [(step.payment.state, step.schedule is not None) for step in ledger.replay_payment(2)] == [("new", True)]


@pytest.mark.usefixtures("long_account")
def test_a_stream_with_a_gap_or_a_foreign_event_is_broken(ledger: Ledger, database: Database) -> None:
    """The position is named, and no state is returned."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("UPDATE events SET topic = 'account.funds_held' WHERE originator_id = 'payment-2'")
        owner.execute("DELETE FROM events WHERE originator_id = 'account-1' AND originator_version = 125")
        owner.execute("UPDATE events SET state = 'x' WHERE originator_id = 'account-2'")

    with pytest.raises(LogBroken, match="version 126 of account-1 follows version 124"):
        list(ledger.stream("account-1"))
    with pytest.raises(LogBroken, match="has no version 125"):
        ledger.account_at(1, position=251)
    with pytest.raises(LogBroken):
        ledger.payment_history(2)
    with pytest.raises(LogBroken):
        list(ledger.stream("account-2"))


def test_a_read_survives_the_loss_of_its_connection(ledger: Ledger, database: Database, writer: Writer) -> None:
    """It is retried once, on a new connection."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1), currency="USD")).result(10)
    with ledger._datastore.connection() as lent:
        process = lent.info.backend_pid
    with closing(database.connect(application="test", owner=True)) as owner:
        assert owner.execute("SELECT pg_terminate_backend(%s, 5000)", [process]).fetchone() == (True,)

    assert ledger.account(1).posted_minor == 100


def test_a_database_that_cannot_be_reached_is_unavailable() -> None:
    """It is reported after a short wait."""
    with Ledger(Database(f"postgresql://127.0.0.1:{free_port()}/x")) as ledger, pytest.raises(DatabaseUnavailable):
        ledger.account(1)


def test_the_application_writes_nothing(ledger: Ledger) -> None:
    """Neither its own `save` nor its sessions can write."""
    with pytest.raises(TypeError, match="only reads"):
        ledger.save()
    with ledger._datastore.connection() as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)
