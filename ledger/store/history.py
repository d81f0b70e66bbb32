"""Reads pages of the log and its head, for readers that need positions and seals.

Readers see committed events only, take no locks and hold no snapshot longer than one statement. To read one account or
payment, use `ledger.application`.
"""

from typing import Any

import psycopg

from ledger.domain.events import AnyEvent, Recorded
from ledger.store.log import SQL as LOG
from ledger.store.log import Head
from ledger.store.serialization import decode

AsyncConnection = psycopg.AsyncConnection[Any]


async def read_log(
    connection: AsyncConnection, *, after: int, limit: int
) -> list[tuple[int, Recorded[AnyEvent], bytes]]:
    """Read a page of the log: (position, event, 32-byte seal) of at most `limit` events after position `after`.

    Raises psycopg.Error, and MapperDeserialisationError for an event that cannot be decoded.
    """
    parameters = {"after": after, "upto": after + limit}
    cursor = await connection.execute(LOG["read_sealed"], parameters, binary=True)
    return [
        (position, decode(stream, version, topic, state), bytes(digest))
        async for position, stream, version, topic, state, digest in cursor
    ]


async def read_head(connection: AsyncConnection) -> Head:
    """Read the head of the log. Raises psycopg.Error."""
    cursor = await connection.execute(LOG["read_head"], binary=True)
    row = await cursor.fetchone()
    assert row is not None, "a migrated store has a head"
    return Head(*row)
