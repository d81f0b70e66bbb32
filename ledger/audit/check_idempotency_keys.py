"""Checks the idempotency keys against the events: each event's key is stored, and each stored key has its event."""

from collections.abc import Iterable
from typing import Any, Final, cast

import psycopg
from eventsourcing.persistence import MapperDeserialisationError

from ledger.audit.check_streams import Placed
from ledger.audit.findings import Findings
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.events import (
    KEYED_EVENTS,
    AccountOpened,
    PaymentAdjusted,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
)
from ledger.domain.identifiers import stream_id
from ledger.store.idempotency_keys import ask_keys, key_taken, keys_taken
from ledger.store.log import PAGE
from ledger.store.serialization import decode
from ledger.store.statements import load_statements

_KEYED_EVENTS: Final = frozenset(KEYED_EVENTS)

KeyedEvent = AccountOpened | PaymentRequested | PaymentRequeued | PaymentResolved | PaymentAdjusted

SQL: Final = load_statements("ledger.audit", "verify.sql")


def keys_of(events: Iterable[Placed]) -> list[tuple[int, IdempotencyRecord]]:
    """Return the idempotency keys of events, with the events' positions."""
    keys = []
    for position, recorded in events:
        if type(recorded.data) not in _KEYED_EVENTS:
            continue
        event = cast("KeyedEvent", recorded.data)
        if event.idempotency is not None:
            taken = IdempotencyRecord(
                subject_kind="account" if isinstance(event, AccountOpened) else "payment",
                subject_id=stream_id(recorded.originator_id),
                idempotency=event.idempotency,
            )
            keys.append((position, taken))
    return keys


def check_keys_of(connection: psycopg.Connection[Any], findings: Findings, events: Iterable[Placed]) -> None:
    """Check that the keys of a page's events are stored and name the right request."""
    expected = keys_of(events)
    if not expected:
        return
    asked = [(taken.idempotency.scope, taken.idempotency.key) for _, taken in expected]
    stored = keys_taken(ask_keys(connection, asked))
    for position, taken in expected:
        found = stored.get((taken.idempotency.scope, taken.idempotency.key))
        if found is None:
            findings.add(position, f"the idempotency key {taken.idempotency.key!r} is missing")
        elif found != taken:
            findings.add(position, f"the stored idempotency key {taken.idempotency.key!r} does not match the event")


def check_orphans(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    """Find stored keys that no event used.

    An error is reported at the first event of the key's account or payment, or at the log's `position` without one.
    """
    after = ("", "")
    while True:
        parameters = {"scope": after[0], "key": after[1], "limit": PAGE}
        rows = connection.execute(SQL["page_of_keys"], parameters, prepare=True, binary=True).fetchall()
        for *key, made_at, topics, states in rows:
            taken = key_taken(*key)
            if not any(_took(taken, topic, state) for topic, state in zip(topics or (), states or (), strict=True)):
                what = f"no event used the idempotency key {taken.idempotency.key!r} of {taken.idempotency.scope!r}"
                findings.add(made_at or position, what)
        if len(rows) < PAGE:
            return
        after = rows[-1][:2]


def _took(taken: IdempotencyRecord, topic: str, state: bytes) -> bool:
    """Tell whether an event used this key. `check_keys_of` has already compared the rest of the record."""
    try:
        event = decode("", 1, topic, state).data
    except MapperDeserialisationError:
        return True  # the event itself cannot be read, and the replay has reported that
    took = event.idempotency if isinstance(event, KEYED_EVENTS) else None
    return took is not None and (took.scope, took.key) == (taken.idempotency.scope, taken.idempotency.key)
