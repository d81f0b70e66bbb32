"""Reads from the events: what an account or a payment is, was and how it came to be so.

For readers beside the writer: they see what is committed, take no locks and hold no snapshot longer than one statement.
An account is read from its latest snapshot on, so that a long one is as quick to read as a short one; where it stood at
some position or time is found by bisection over its versions, because positions and times both grow with them.
"""

from datetime import datetime
from typing import Any, Final, cast

import psycopg
from msgspec import Struct

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.events import AccountEvent, AnyEvent, PaymentEvent, Recorded
from ledger.identifiers import account_stream, payment_stream
from ledger.log import SQL as LOG
from ledger.log import Head
from ledger.mapper import SNAPSHOT_TOPIC, decode, decode_snapshot
from ledger.payment import Payment
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "history.sql")

AsyncConnection = psycopg.AsyncConnection[Any]

_LAST_VERSION: Final = 2**63 - 1


class AccountAt(Struct, frozen=True, kw_only=True):
    """An account as it was after the event at `position`, the last one that counts, which happened at `at`."""

    account: Account
    position: int
    at: datetime


async def read_payment(connection: AsyncConnection, payment_id: int) -> Payment | None:
    """Fold a payment from its events; None when there is no such payment."""
    payment = None
    for _, recorded in await read_payment_history(connection, payment_id):
        payment = ledger.payment.evolve(payment, recorded)
    return payment


async def read_payment_history(
    connection: AsyncConnection, payment_id: int
) -> list[tuple[int, Recorded[PaymentEvent]]]:
    """Give a payment's events with their positions, oldest first; none when there is no such payment."""
    stream = payment_stream(payment_id)
    cursor = await connection.execute(SQL["read_placed_stream"], {"stream": stream}, binary=True)
    return [
        (position, cast("Recorded[PaymentEvent]", decode(stream, version, topic, state)))
        async for position, version, topic, state in cursor
    ]


async def read_account(
    connection: AsyncConnection, account_id: int, *, upto_version: int = _LAST_VERSION
) -> Account | None:
    """Fold an account from its latest snapshot and the events after it; None when there is no such account."""
    stream = account_stream(account_id)
    parameters = {"stream": stream, "upto_version": upto_version, "snapshot_topic": SNAPSHOT_TOPIC}
    cursor = await connection.execute(SQL["read_stream"], parameters, binary=True)
    account = None
    for version, topic, state, is_snapshot in sorted(await cursor.fetchall(), key=lambda row: (not row[3], row[0])):
        if is_snapshot:
            account = decode_snapshot(state)
        else:
            recorded = cast("Recorded[AccountEvent]", decode(stream, version, topic, state))
            account = ledger.account.evolve(account, recorded)
    return account


async def read_account_at(
    connection: AsyncConnection, account_id: int, *, position: int | None = None, at: datetime | None = None
) -> AccountAt | None:
    """Give an account as it was at a position or a time, both inclusive; None when it was not yet open then.

    Exactly one of `position` and `at` is to be given.
    """
    assert (position is None) != (at is None)
    stream = account_stream(account_id)
    cursor = await connection.execute(SQL["read_last_version"], {"stream": stream})
    row = await cursor.fetchone()
    low, high = 0, (row and row[0]) or 0
    found: tuple[int, datetime] | None = None
    while low < high:
        middle = (low + high + 1) // 2
        placed = await _read_version(connection, stream, middle)
        if (placed[0] <= position) if position is not None else (at is not None and placed[1] <= at):
            low, found = middle, placed
        else:
            high = middle - 1
    if found is None:
        return None
    account = await read_account(connection, account_id, upto_version=low)
    assert account is not None, stream
    return AccountAt(account=account, position=found[0], at=found[1])


async def _read_version(connection: AsyncConnection, stream: str, version: int) -> tuple[int, datetime]:
    parameters = {"stream": stream, "version": version}
    cursor = await connection.execute(SQL["read_version"], parameters, prepare=True, binary=True)
    row = await cursor.fetchone()
    assert row is not None, (stream, version)
    position, topic, state = row
    return position, decode(stream, version, topic, state).at


async def read_log(
    connection: AsyncConnection, *, after: int, limit: int
) -> list[tuple[int, Recorded[AnyEvent], bytes]]:
    """Give a page of the log: position, event and seal of at most `limit` events after a position."""
    parameters = {"after": after, "upto": after + limit}
    cursor = await connection.execute(LOG["read_sealed"], parameters, binary=True)
    return [
        (position, decode(stream, version, topic, state), bytes(digest))
        async for position, stream, version, topic, state, digest in cursor
    ]


async def read_head(connection: AsyncConnection) -> Head:
    """Give the log's end."""
    cursor = await connection.execute(LOG["read_head"], binary=True)
    row = await cursor.fetchone()
    assert row is not None
    return Head(*row)
