"""What an operator looks at and decides from the command line: how the service is, and its dead letters.

The same things as over HTTP, in the same words, on the database itself; so they work while no API runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
from msgspec import Struct

from api.dead_letters import DeadLetterView, LetterRow, letter_view
from api.payments import EventView, event_view
from api.pulse import Beat, Pulse
from api.readiness import BEATING_PARTS, FRESH
from api.reads import Reads
from ledger.command_ids import new_command_id
from ledger.commands import Command, PaymentStanding, RequeuePayment, ResolvePayment
from ledger.database import Database
from ledger.errors import DatabaseUnavailable, PaymentNotFound
from ledger.events import Resolution
from ledger.history import read_payment_history
from ledger.payment import LetterState
from ledger.settings import Settings
from ledger.sql import load_statements
from ledger.writer import Writer

SQL: Final = load_statements("api", "operations.sql")

ResultT = TypeVar("ResultT")


class StatusView(Struct, frozen=True, kw_only=True):
    """How the service is, with what is wrong with it in sentences; `ok` when nothing is."""

    ok: bool
    wrong: list[str]
    pulse: Beat


class LetterHistory(Struct, frozen=True, kw_only=True):
    """A payment with its history; `letter` is null when an operator need not look at it any more."""

    letter: DeadLetterView | None
    events: list[EventView]


def read_status(database: Database) -> StatusView:
    """Look at the whole service. Raises DatabaseUnavailable."""

    async def feel() -> Beat | None:
        reads = Reads(database)
        await reads.open()
        pulse = Pulse(reads)
        try:
            return await pulse.feel()
        finally:
            await pulse.close()
            await reads.close()

    beat = asyncio.run(feel())
    if beat is None:
        raise DatabaseUnavailable
    wrong = [
        f"{model.name} stopped at position {model.stopped_at_position}: {model.stopped_because}"
        for model in beat.read_models
        if model.stopped_at_position is not None
    ]
    if beat.withheld:
        wrong.append("this is a copy of the ledger that was not taken over: it takes no payments and calls no gateway")
    alive = {part.part for part in beat.parts if part.seen_seconds_ago < FRESH.total_seconds()}
    wrong += [f"no {part} is alive" for part in BEATING_PARTS if part not in alive]
    return StatusView(ok=not wrong, wrong=wrong, pulse=beat)


def list_letters(database: Database, *, state: LetterState | None, limit: int, offset: int) -> list[DeadLetterView]:
    """List dead letters, newest first; of one state, if wished."""

    async def read(connection: psycopg.AsyncConnection[Any]) -> list[DeadLetterView]:
        parameters = {"state": state, "limit": limit, "offset": offset}
        cursor = await connection.execute(SQL["list_letters"], parameters)
        return [letter_view(LetterRow(*row)) async for row in cursor]

    return _read(database, read)


def show_letter(database: Database, payment_id: int) -> LetterHistory:
    """Show what has happened to a payment. Raises PaymentNotFound."""

    async def read(connection: psycopg.AsyncConnection[Any]) -> LetterHistory:
        cursor = await connection.execute(SQL["read_letter"], {"payment_id": payment_id})
        row = await cursor.fetchone()
        history = await read_payment_history(connection, payment_id)
        if not history:
            raise PaymentNotFound(payment_id=payment_id)
        return LetterHistory(
            letter=None if row is None else letter_view(LetterRow(*row)),
            events=[event_view(position, recorded) for position, recorded in history],
        )

    return _read(database, read)


def requeue(settings: Settings, database: Database, payment_id: int, *, why: str, by: str) -> PaymentStanding:
    """Send a failed payment to the gateway again. Raises what RequeuePayment does."""
    command = RequeuePayment(
        command_id=new_command_id(),
        by=by,
        payment_id=payment_id,
        why=why,
        same_gateway_key=not settings.gateway_inquiry,
    )
    return _execute(database, command)


def resolve(database: Database, payment_id: int, *, outcome: Resolution, why: str, by: str) -> PaymentStanding:
    """Close a dead letter with an outcome that is known from elsewhere. Raises what ResolvePayment does."""
    return _execute(
        database, ResolvePayment(command_id=new_command_id(), by=by, payment_id=payment_id, outcome=outcome, why=why)
    )


def _execute(database: Database, command: Command[ResultT]) -> ResultT:
    writer = Writer(database)
    writer.start()
    try:
        return writer.submit(command).result()
    finally:
        writer.stop()


def _read(database: Database, read: Callable[[psycopg.AsyncConnection[Any]], Awaitable[ResultT]]) -> ResultT:
    async def connect_and_read() -> ResultT:
        conninfo = database.conninfo(application="payment-ledger operator")
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            return await read(connection)

    return asyncio.run(connect_and_read())
