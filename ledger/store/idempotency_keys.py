"""The table of idempotency keys. The writer inserts keys with their batch; they can be rebuilt from the events."""

from collections.abc import Collection
from typing import Any, Final

import psycopg

from ledger.domain.decision import IdempotencyRecord, SubjectKind
from ledger.domain.events import IdempotencyKey
from ledger.store.array_parameters import Bigints, Texts, Words
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "idempotency_keys.sql")

Connection = psycopg.Connection[Any]


def ask_keys(connection: Connection, keys: Collection[tuple[str, str]]) -> psycopg.Cursor[Any]:
    """Send the look-up of these (scope, key) pairs; `keys_taken` reads its result."""
    parameters = {"scopes": Words([scope for scope, _ in keys]), "keys": Texts([key for _, key in keys])}
    return connection.execute(SQL["read_keys"], parameters, prepare=True, binary=True)


def keys_taken(answer: psycopg.Cursor[Any]) -> dict[tuple[str, str], IdempotencyRecord]:
    """Read the result of `ask_keys`: the record of each (scope, key) that is taken."""
    return {(row[0], row[1]): key_taken(*row) for row in answer}


def insert_keys(connection: Connection, keys: Collection[IdempotencyRecord]) -> None:
    """Send new idempotency keys."""
    connection.execute(SQL["insert_keys"], _key_columns(keys), prepare=True)


def key_taken(
    scope: str,
    key: str,
    subject_kind: SubjectKind,
    subject_id: int,
    version: int,
    fingerprint: str,
) -> IdempotencyRecord:
    """Make a record from the columns of a row."""
    idempotency = IdempotencyKey(scope=scope, key=key, fingerprint=fingerprint, fingerprint_version=version)
    return IdempotencyRecord(subject_kind=subject_kind, subject_id=subject_id, idempotency=idempotency)


def _key_columns(keys: Collection[IdempotencyRecord]) -> dict[str, list[Any]]:
    return {
        "scopes": Words([key.idempotency.scope for key in keys]),
        "keys": Texts([key.idempotency.key for key in keys]),
        "subject_kinds": Words([key.subject_kind for key in keys]),
        "subject_ids": Bigints([key.subject_id for key in keys]),
        "fingerprint_versions": Bigints([key.idempotency.fingerprint_version for key in keys]),
        "fingerprints": Texts([key.idempotency.fingerprint for key in keys]),
    }
