"""Dead letters, and what an operator decides about them at the command line.

They do the same as the HTTP routes and use the same field names, but work directly on the database, without the API.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
from msgspec import Struct

from api.settings import Settings
from api.views.dead_letters import DeadLetterView, letter_view
from api.views.payments import EventView, event_view
from ledger.application.application import Ledger
from ledger.domain.commands import Command, PaymentStanding, RequeuePayment
from ledger.domain.payment import LetterState
from ledger.partition.partition import Partition, Partitions
from ledger.recovery.noted_head import NotedHeads
from ledger.store.database import Database
from ledger.store.statements import load_statements
from ledger.writer.writer import Writer
from projections.models.dead_letter import Letter

SQL: Final = load_statements("api.operator", "dead_letters.sql")

ResultT = TypeVar("ResultT")


class LetterHistory(Struct, frozen=True, kw_only=True):
    """A payment with its history; `letter` is null when the payment is not a dead letter."""

    letter: DeadLetterView | None
    events: list[EventView]


def list_letters(database: Database, *, state: LetterState | None, limit: int, offset: int) -> list[DeadLetterView]:
    """List dead letters, newest first; with `state`, only those in it. Raises psycopg.Error."""

    async def read(connection: psycopg.AsyncConnection[Any]) -> list[DeadLetterView]:
        parameters = {"state": state, "limit": limit, "offset": offset}
        cursor = await connection.execute(SQL["list_letters"], parameters)
        return [letter_view(Letter(*row)) async for row in cursor]

    return _read(database, read)


def list_letters_of_all(
    partitions: Partitions, *, state: LetterState | None, limit: int, offset: int
) -> list[DeadLetterView]:
    """List the dead letters of all partitions, newest first. Raises psycopg.Error.

    The order between partitions is that of times, which are those of their databases' clocks.
    """
    if len(partitions) == 1:
        return list_letters(partitions.first.database, state=state, limit=limit, offset=offset)
    letters = [
        letter
        for partition in partitions
        for letter in list_letters(partition.database, state=state, limit=offset + limit, offset=0)
    ]
    letters.sort(key=lambda letter: letter.created_at, reverse=True)  # stable, so each partition keeps its own order
    return letters[offset : offset + limit]


def show_letter(partition: Partition, payment_id: int) -> LetterHistory:
    """Return a payment's events and its dead letter, if it has one. Raises PaymentNotFound, LogBroken."""

    async def read(connection: psycopg.AsyncConnection[Any]) -> DeadLetterView | None:
        cursor = await connection.execute(SQL["read_letter"], {"payment_id": payment_id})
        row = await cursor.fetchone()
        return None if row is None else letter_view(Letter(*row))

    with Ledger(partition.database) as ledger:
        history = ledger.payment_history(payment_id)
    return LetterHistory(
        letter=_read(partition.database, read),
        events=[event_view(*placed, partition=partition.number) for placed in history],
    )


def requeue_payment(
    settings: Settings,
    *,
    command_id: str,
    payment_id: int,
    why: str,
    by: str | None,
    idempotency_key: str | None,
    operator: str | None = None,
) -> RequeuePayment:
    """Give the command, for the HTTP API too; a gateway that cannot be asked is called at once."""
    return RequeuePayment(
        command_id=command_id,
        by=by,
        operator=operator,
        payment_id=payment_id,
        why=why,
        idempotency_key=idempotency_key,
        ask_first=settings.gateway_inquiry,
        currencies=settings.gateway_currencies,
    )


def decide(settings: Settings, partition: Partition, command: Command[PaymentStanding]) -> PaymentStanding:
    """Carry out what an operator has decided. Raises the command's refusals and the writer's errors."""
    noted_heads = NotedHeads(settings.noted_heads_folder)
    writer = Writer(partition.database, slots=partition.slots, noted_heads=noted_heads)
    writer.start()
    try:
        return writer.submit(command).result()
    finally:
        writer.stop()


def _read(database: Database, read: Callable[[psycopg.AsyncConnection[Any]], Awaitable[ResultT]]) -> ResultT:
    async def connect_and_read() -> ResultT:
        async with await database.connect_async(application="payment-ledger operator") as connection:
            return await read(connection)

    return asyncio.run(connect_and_read())
