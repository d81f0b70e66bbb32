"""Reading the log beside the writer."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
import pytest

from ledger.domain.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.store.database import Database
from ledger.store.history import read_head, read_log
from ledger.writer.writer import Writer

T = TypeVar("T")
Reader = Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]


def read(database: Database, reader: "Reader[T]") -> T:
    async def ask() -> T:
        conninfo = database.conninfo(application="test")
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            return await reader(connection)

    return asyncio.run(ask())


@pytest.fixture
def log(writer: Writer) -> None:
    """Yield a log of five events."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1000), currency="USD")).result(10)
    writer.submit(OpenAccount(command_id="b", opening=Decimal(5), currency="USD")).result(10)
    writer.submit(RequestDeposit(command_id="c", account_id=2, amount=Decimal(1), fee_rate_ppm=0)).result(10)
    for n in range(1):
        withdrawal = RequestWithdrawal(command_id=f"w{n}", account_id=1, amount=Decimal("0.01"), fee_rate_ppm=0)
        writer.submit(withdrawal).result(10)


@pytest.mark.usefixtures("log")
def test_the_head_is_at_the_end_of_the_log(database: Database) -> None:
    """Its digest is the seal of the last event."""
    head = read(database, read_head)
    [(position, _, seal)] = read(database, lambda connection: read_log(connection, after=4, limit=10))

    assert (head.position, head.digest) == (position, seal)
