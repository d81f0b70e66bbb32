"""What a batch writes beside its events, in the same transaction: idempotency keys, and what the gateway is asked next.

All of it can be made again from the events, as an import and a take-over do.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import psycopg

from ledger.arrays import Bigints, OptionalTexts, Texts
from ledger.decisions import KeyTaken, QueueEntry, SubjectKind
from ledger.events import IdempotencyKey
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "keys_and_queue.sql")

Connection = psycopg.Connection[Any]


def ask_keys(connection: Connection, keys: Collection[tuple[str, str]]) -> psycopg.Cursor[Any]:
    """Ask what was made under these (scope, key); `keys_taken` reads the answer."""
    parameters = {"scopes": Texts([scope for scope, _ in keys]), "keys": Texts([key for _, key in keys])}
    return connection.execute(SQL["read_keys"], parameters, prepare=True, binary=True)


def keys_taken(answer: psycopg.Cursor[Any]) -> dict[tuple[str, str], KeyTaken]:
    """Read the answer of `ask_keys`: those of the keys that are taken."""
    return {(row[0], row[1]): key_taken(*row) for row in answer}


def insert_keys(connection: Connection, keys: Collection[KeyTaken]) -> None:
    """Send idempotency keys to be kept."""
    connection.execute(SQL["insert_keys"], _key_columns(keys), prepare=True)


def enqueue(connection: Connection, entries: Collection[QueueEntry]) -> None:
    """Send what the gateway is to be asked next; an entry takes the place of the payment's entry before."""
    connection.execute(SQL["enqueue"], _queue_columns(entries), prepare=True)


def enqueue_first(connection: Connection, entries: Collection[QueueEntry], *, due_at: datetime) -> None:
    """Send the first calls of payments that the same batch has requested, all due at `due_at`."""
    connection.execute(SQL["enqueue_first"], _payment_columns(entries) | {"due_at": due_at}, prepare=True)


def dequeue(connection: Connection, payment_ids: Collection[int]) -> None:
    """Send that payments are done with."""
    connection.execute(SQL["dequeue"], {"payment_ids": Bigints(payment_ids)}, prepare=True)


def key_taken(
    scope: str,
    key: str,
    subject_kind: SubjectKind,
    subject_id: int,
    version: int,
    fingerprint: str,
) -> KeyTaken:
    """Read a row of the table, column by column."""
    idempotency = IdempotencyKey(scope=scope, key=key, fingerprint=fingerprint, fingerprint_version=version)
    return KeyTaken(subject_kind=subject_kind, subject_id=subject_id, idempotency=idempotency)


def _key_columns(keys: Collection[KeyTaken]) -> dict[str, list[Any]]:
    return {
        "scopes": Texts([key.idempotency.scope for key in keys]),
        "keys": Texts([key.idempotency.key for key in keys]),
        "subject_kinds": Texts([key.subject_kind for key in keys]),
        "subject_ids": Bigints([key.subject_id for key in keys]),
        "fingerprint_versions": Bigints([key.idempotency.fingerprint_version for key in keys]),
        "fingerprints": Texts([key.idempotency.fingerprint for key in keys]),
    }


def _payment_columns(entries: Collection[QueueEntry]) -> dict[str, list[Any]]:
    return {
        "payment_ids": Bigints([entry.payment_id for entry in entries]),
        "account_ids": Bigints([entry.account_id for entry in entries]),
        "kinds": Texts([entry.kind for entry in entries]),
        "amounts_minor": Bigints([entry.amount_minor for entry in entries]),
        "fees_minor": Bigints([entry.fee_minor for entry in entries]),
        "currencies": Texts([entry.currency for entry in entries]),
        "gateway_keys": Texts([entry.gateway_key for entry in entries]),
        "trace_contexts": OptionalTexts([entry.trace_context for entry in entries]),
    }


def _queue_columns(entries: Collection[QueueEntry]) -> dict[str, list[Any]]:
    return _payment_columns(entries) | {
        "series": Bigints([entry.series for entry in entries]),
        "attempts": Bigints([entry.attempt for entry in entries]),
        "actions": Texts([entry.action for entry in entries]),
        "inquiries": Bigints([entry.inquiries for entry in entries]),
        "unknown": [entry.unknown for entry in entries],
        "payment_versions": Bigints([entry.payment_version for entry in entries]),
        "due_at": [entry.due_at for entry in entries],
    }
