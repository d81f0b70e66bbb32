"""The gateway queue: the rows of a payment's first call and of later ones."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row

from ledger.domain.decision import QueueEntry
from ledger.domain.kinds import PaymentKind
from ledger.store.database import Database
from ledger.store.gateway_queue import enqueue, enqueue_first

AT: Final = datetime(2026, 11, 28, 9, 30, 0, 123456, UTC)


def first_call(payment_id: int, kind: PaymentKind, *, trace_context: str | None = None) -> QueueEntry:
    """The queue entry of a new payment."""
    return QueueEntry(
        payment_id=payment_id,
        account_id=7,
        kind=kind,
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=1,
        gateway_key=f"payment-{payment_id}",
        payment_version=1,
        due_at=AT,
        trace_context=trace_context,
    )


def queued(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """All rows of the queue, with all columns."""
    return connection.cursor(row_factory=dict_row).execute("SELECT * FROM gateway_queue ORDER BY payment_id").fetchall()


def test_a_first_call_is_stored_like_any_other(database: Database) -> None:
    """The statement for first calls fills in their constant columns, and writes the same rows as the general one."""
    calls = [first_call(7, "deposit", trace_context="00-ab-cd-01"), first_call(1031, "withdraw")]

    with closing(database.connect(application="test")) as connection:
        enqueue_first(connection, calls, due_at=AT)
        first = queued(connection)
        connection.execute("DELETE FROM gateway_queue")
        enqueue(connection, calls)
        any_other = queued(connection)

    assert [(row["payment_id"], row["due_at"], row["trace_context"]) for row in first] == [
        (7, AT, "00-ab-cd-01"),
        (1031, AT, None),
    ]
    assert first == any_other


def test_a_first_call_never_replaces_an_entry(database: Database) -> None:
    """A payment that already has a row was not just requested. This is a fault, and nothing is written."""
    with closing(database.connect(application="test")) as connection:
        enqueue_first(connection, [first_call(7, "deposit")], due_at=AT)
        before = queued(connection)

        with pytest.raises(psycopg.errors.UniqueViolation):
            enqueue_first(connection, [first_call(1031, "deposit"), first_call(7, "withdraw")], due_at=AT)

        assert queued(connection) == before
