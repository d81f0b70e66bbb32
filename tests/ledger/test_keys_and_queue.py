"""The gateway queue: what is written for a payment's first call and for those after it."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row

from ledger.database import Database
from ledger.decisions import QueueEntry
from ledger.events import PaymentKind
from ledger.keys_and_queue import enqueue, enqueue_first

AT: Final = datetime(2026, 11, 28, 9, 30, 0, 123456, UTC)


def first_call(payment_id: int, kind: PaymentKind, *, trace_context: str | None = None) -> QueueEntry:
    """What a request puts into the queue."""
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


def test_a_first_call_is_stored_as_any_other(database: Database) -> None:
    """Its statement knows what is the same for all first calls, and writes the rows that the longer one does."""
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


def test_a_first_call_takes_no_payments_place(database: Database) -> None:
    """A payment that has a row already was not requested just now: something is wrong, and nothing is written."""
    with closing(database.connect(application="test")) as connection:
        enqueue_first(connection, [first_call(7, "deposit")], due_at=AT)
        before = queued(connection)

        with pytest.raises(psycopg.errors.UniqueViolation):
            enqueue_first(connection, [first_call(1031, "deposit"), first_call(7, "withdraw")], due_at=AT)

        assert queued(connection) == before
