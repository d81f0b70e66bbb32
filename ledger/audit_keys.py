"""Checks the idempotency keys against the events: each event's key is there, and no key is there without its event."""

from collections.abc import Iterable
from typing import Any, Final

import psycopg
from eventsourcing.persistence import MapperDeserialisationError

from ledger.audit_findings import Findings
from ledger.audit_replay import Placed
from ledger.decisions import KeyTaken
from ledger.events import AccountOpened, PaymentRequested
from ledger.identifiers import stream_id
from ledger.keys_and_queue import ask_keys, key_taken, keys_taken
from ledger.mapper import decode
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "audit.sql")

PAGE: Final = 5_000


def keys_of(events: Iterable[Placed]) -> list[tuple[int, KeyTaken]]:
    """Give the keys that events took, with the events' positions."""
    keys = []
    for position, recorded in events:
        event = recorded.data
        if isinstance(event, AccountOpened | PaymentRequested) and event.idempotency is not None:
            taken = KeyTaken(
                subject_kind="account" if isinstance(event, AccountOpened) else "payment",
                subject_id=stream_id(recorded.originator_id),
                idempotency=event.idempotency,
            )
            keys.append((position, taken))
    return keys


def check_keys_of(connection: psycopg.Connection[Any], findings: Findings, events: Iterable[Placed]) -> None:
    """Look for the keys of a page's events."""
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
            findings.add(position, f"the idempotency key {taken.idempotency.key!r} stands for something else")


def check_baseless(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    """Look for keys that no event took; where there is no event at all they are reported at the log's last position."""
    after = ("", "")
    while True:
        parameters = {"scope": after[0], "key": after[1], "limit": PAGE}
        rows = connection.execute(SQL["page_of_keys"], parameters, prepare=True, binary=True).fetchall()
        for *key, made_at, topic, state in rows:
            taken = key_taken(*key)
            if not _was_taken(taken, topic, state):
                what = f"no event took the idempotency key {taken.idempotency.key!r} of {taken.idempotency.scope!r}"
                findings.add(made_at or position, what)
        if len(rows) < PAGE:
            return
        after = rows[-1][:2]


def _was_taken(taken: KeyTaken, topic: str | None, state: bytes | None) -> bool:
    """Tell whether an event took a key, for whatever request; what it stands for was looked at with the event."""
    if topic is None or state is None:
        return False
    try:
        event = decode("", 1, topic, state).data
    except MapperDeserialisationError:
        return True  # the event is what is wrong here, and was found
    took = event.idempotency if isinstance(event, AccountOpened | PaymentRequested) else None
    return took is not None and (took.scope, took.key) == (taken.idempotency.scope, taken.idempotency.key)
