"""The gateway queue: one row for each open payment, with the payment's next gateway call and the time it is due.

A payment that failed because the gateway did not know it keeps a row as well, until it has been asked about late.

The queue can be rebuilt from the events.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import psycopg

from ledger.domain.decision import QueueEntry
from ledger.store.array_parameters import Bigints, Texts, Words
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "gateway_queue.sql")

Connection = psycopg.Connection[Any]


def enqueue(connection: Connection, entries: Collection[QueueEntry]) -> None:
    """Send queue entries. An entry replaces the payment's previous entry."""
    connection.execute(SQL["enqueue"], _queue_columns(entries), prepare=True)


def enqueue_first(connection: Connection, entries: Collection[QueueEntry], *, due_at: datetime) -> None:
    """Send the first entries of payments that the same batch has requested, all due at `due_at`."""
    connection.execute(SQL["enqueue_first"], _payment_columns(entries) | {"due_at": due_at}, prepare=True)


def dequeue(connection: Connection, payment_ids: Collection[int]) -> None:
    """Delete the entries of payments that need no more gateway calls."""
    connection.execute(SQL["dequeue"], {"payment_ids": Bigints(payment_ids)}, prepare=True)


def _payment_columns(entries: Collection[QueueEntry]) -> dict[str, list[Any]]:
    return {
        "payment_ids": Bigints([entry.payment_id for entry in entries]),
        "account_ids": Bigints([entry.account_id for entry in entries]),
        "kinds": Words([entry.kind for entry in entries]),
        "amounts_minor": Bigints([entry.amount_minor for entry in entries]),
        "fees_minor": Bigints([entry.fee_minor for entry in entries]),
        "currencies": Words([entry.currency for entry in entries]),
        "gateway_keys": Texts([entry.gateway_key for entry in entries]),
        "trace_contexts": Words([entry.trace_context for entry in entries]),
    }


def _queue_columns(entries: Collection[QueueEntry]) -> dict[str, list[Any]]:
    return _payment_columns(entries) | {
        "series": Bigints([entry.series for entry in entries]),
        "attempts": Bigints([entry.attempt for entry in entries]),
        "actions": Words([entry.action for entry in entries]),
        "inquiries": Bigints([entry.inquiries for entry in entries]),
        "unknown": [entry.unknown for entry in entries],
        "payment_versions": Bigints([entry.payment_version for entry in entries]),
        "due_at": [entry.due_at for entry in entries],
    }
