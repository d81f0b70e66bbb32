"""Reading from the events, beside the writer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
import pytest

from ledger.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.database import Database
from ledger.events import FundsHeld
from ledger.history import (
    AccountAt,
    read_account,
    read_account_at,
    read_head,
    read_log,
    read_payment,
    read_payment_history,
)
from ledger.writer import Writer

T = TypeVar("T")
Reader = Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]


def read(database: Database, reader: "Reader[T]") -> T:
    async def ask() -> T:
        conninfo = database.conninfo(application="test")
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            return await reader(connection)

    return asyncio.run(ask())


@pytest.fixture
def long_account(writer: Writer) -> None:
    """An account of 1000.00 that holds one cent more with each of 249 withdrawals, and a payment of another user."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1000), currency="USD")).result(10)
    writer.submit(OpenAccount(command_id="b", opening=Decimal(5), currency="USD")).result(10)
    writer.submit(RequestDeposit(command_id="c", account_id=2, amount=Decimal(1), fee_rate_ppm=0)).result(10)
    for n in range(249):
        withdrawal = RequestWithdrawal(command_id=f"w{n}", account_id=1, amount=Decimal("0.01"), fee_rate_ppm=0)
        writer.submit(withdrawal).result(10)


@pytest.mark.usefixtures("long_account")
def test_an_account_is_read_from_its_snapshot_on(database: Database) -> None:
    """As it is now, and as it was at an earlier version."""
    now = read(database, lambda connection: read_account(connection, 1))
    earlier = read(database, lambda connection: read_account(connection, 1, upto_version=150))

    assert now is not None
    assert earlier is not None
    assert (now.version, now.held_minor) == (250, 249)
    assert (earlier.version, earlier.held_minor) == (150, 149)


@pytest.mark.usefixtures("long_account")
def test_an_account_stood_somewhere_at_every_position(database: Database) -> None:
    """At each position it is as the last of its events up to there has left it."""
    log = read(database, lambda connection: read_log(connection, after=0, limit=1000))
    expected: dict[int, tuple[int, int]] = {}
    held, since = 0, 1
    for position, recorded, _ in log:
        if isinstance(recorded.data, FundsHeld):
            held, since = held + recorded.data.amount_minor, position
        expected[position] = (held, since)

    async def ask(connection: psycopg.AsyncConnection[Any]) -> dict[int, AccountAt | None]:
        return {position: await read_account_at(connection, 1, position=position) for position in range(1, 502, 25)}

    found = read(database, ask)

    assert len(log) == 501
    for position, seen in found.items():
        assert seen is not None
        assert (seen.account.held_minor, seen.position) == expected[position]


@pytest.mark.usefixtures("long_account")
def test_an_account_stood_somewhere_at_every_time(database: Database) -> None:
    """An event counts from its own time on."""
    log = read(database, lambda connection: read_log(connection, after=0, limit=1000))
    _, recorded, _ = log[300]
    at_it = read(database, lambda connection: read_account_at(connection, 1, at=recorded.at))
    before = read(
        database, lambda connection: read_account_at(connection, 1, at=recorded.at - timedelta(microseconds=1))
    )

    assert at_it is not None
    assert before is not None
    assert before.account.held_minor < at_it.account.held_minor
    assert at_it.at <= recorded.at


def test_what_was_not_there_is_none(database: Database, writer: Writer) -> None:
    """Neither a user nor a payment, now or before the account was opened."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1), currency="USD")).result(10)

    assert read(database, lambda connection: read_account(connection, 2)) is None
    assert read(database, lambda connection: read_account_at(connection, 2, position=1)) is None
    assert read(database, lambda connection: read_account_at(connection, 1, position=0)) is None
    assert read(database, lambda connection: read_payment(connection, 1)) is None


@pytest.mark.usefixtures("long_account")
def test_a_payment_is_read_with_its_history(database: Database) -> None:
    """Event by event, with the positions."""
    payment = read(database, lambda connection: read_payment(connection, 2))
    history = read(database, lambda connection: read_payment_history(connection, 2))

    assert payment is not None
    assert (payment.account_id, payment.state) == (2, "new")
    assert [(position, recorded.command_id) for position, recorded in history] == [(3, "c")]


@pytest.mark.usefixtures("long_account")
def test_the_head_is_the_last_of_the_log(database: Database) -> None:
    """Its seal is that of the last event."""
    head = read(database, read_head)
    [(position, _, seal)] = read(database, lambda connection: read_log(connection, after=500, limit=10))

    assert (head.position, head.digest) == (position, seal)
