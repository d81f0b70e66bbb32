"""Payments as their clients read them, step by step along their ways."""

from typing import Any

import pytest

from projections.errors import EventNotApplicable
from projections.models import payment_status
from tests.projections.models.tables import tables_of
from tests.support.histories import History, fold_payments, go


def shown(history: History, payment_id: int) -> dict[str, Any]:
    """The row that a client reads about a payment."""
    row = tables_of(history.events).payments[payment_id]
    return {
        "state": row.state,
        "status": row.status,
        "attempts": row.attempts,
        "last_error": row.last_error,
        "retry_in": None if row.next_retry_at is None else (row.next_retry_at - row.updated_at).total_seconds(),
    }


def as_read(
    state: str, status: str, *, attempts: int = 0, last_error: str | None = None, retry_in: float | None = None
) -> dict[str, Any]:
    """The expected row."""
    return {
        "state": state,
        "status": status,
        "attempts": attempts,
        "last_error": last_error,
        "retry_in": retry_in,
    }


WAYS: list[tuple[str, list[tuple[Any, ...]], dict[str, Any]]] = [
    ("just requested", [], as_read("new", "new")),
    (
        "turned away, to be called again",
        [("attempt", "turned_away", "retry", "refused")],
        as_read("processing", "processing", attempts=1, last_error="refused", retry_in=1.5),
    ),
    (
        "unknown, to be asked about",
        [("attempt", "unknown", "inquire", "timeout")],
        as_read("processing", "processing", attempts=1, last_error="timeout", retry_in=5.0),
    ),
    (
        "an outcome without a word for it",
        [("attempt", "unknown", "retry")],
        as_read("processing", "processing", attempts=1, last_error="unknown", retry_in=1.5),
    ),
    (
        "a word that no text column can hold",
        [("attempt", "unknown", "retry", "n\0l")],
        as_read("processing", "processing", attempts=1, last_error="n\N{REPLACEMENT CHARACTER}l", retry_in=1.5),
    ),
    (
        "approved at the second attempt",
        [("attempt", "turned_away", "retry", "refused"), ("attempt", "approved", "succeed")],
        as_read("succeeded", "success", attempts=2),
    ),
    (
        "declined",
        [("attempt", "declined", "fail", "gateway_error_400")],
        as_read("failed", "failed", attempts=1, last_error="gave_up"),
    ),
    (
        "parked in doubt",
        [("attempt", "unknown", "inquire", "timeout"), ("inquire", "no_clear_answer", "inquire")],
        as_read("in_doubt", "processing", attempts=1, last_error="timeout"),
    ),
    (
        "success learnt by inquiry",
        [("attempt", "unknown", "inquire", "timeout"), ("inquire", "approved", "succeed")],
        as_read("succeeded", "success", attempts=1),
    ),
    (
        "a late answer",
        [("attempt", "unknown", "retry", "timeout"), ("late", 1, 1)],
        as_read("succeeded", "success", attempts=1),
    ),
    (
        "requeued, not yet called",
        [("attempt", "declined", "fail", "x"), ("requeue",)],
        as_read("processing", "processing", attempts=1, last_error="gave_up"),
    ),
    (
        "requeued, called again",
        [("attempt", "declined", "fail", "x"), ("requeue",), ("attempt", "turned_away", "retry", "refused")],
        as_read("processing", "processing", attempts=2, last_error="refused", retry_in=1.5),
    ),
    (
        "failed, then contradicted",
        [("attempt", "declined", "fail", "x"), ("late", 1, 1)],
        as_read("failed", "failed", attempts=1, last_error="gave_up"),
    ),
    (
        "failed, contradicted and reconciled",
        [("attempt", "declined", "fail", "x"), ("late", 1, 1), ("resolve", "success")],
        as_read("succeeded", "success", attempts=1),
    ),
]


@pytest.mark.parametrize(("steps", "expected"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_a_payment_is_shown_as_its_client_knows_it(steps: list[tuple[Any, ...]], expected: dict[str, Any]) -> None:
    """Each way of a payment, and what GET then says of it."""
    history = History()
    payment_id = history.deposit(history.open())

    go(history, payment_id, steps)

    assert expected == shown(history, payment_id)


def test_too_little_money_is_a_failure_and_no_letter() -> None:
    """Nothing was sent to the gateway, so there is nothing for an operator to look at."""
    history = History()

    payment_id = history.withdraw(history.open("10"), "50")

    assert as_read("failed", "failed", last_error="insufficient_funds") == shown(history, payment_id)
    assert tables_of(history.events).letters == {}


def test_a_contradicted_refusal_is_a_letter() -> None:
    """The gateway moved money for a payment that it was never told of: somebody has to look."""
    history = History()
    payment_id = history.withdraw(history.open("10"), "50")

    assert history.attempt(payment_id, "approved", "succeed")

    assert fold_payments(history.events)[payment_id].letter == "contradicted"
    assert tables_of(history.events).letters[payment_id].state == "contradicted"


def test_an_event_of_an_unknown_payment_is_not_applicable() -> None:
    """The tables and the log are then not about the same thing."""
    history = History()
    payment_id = history.deposit(history.open())
    history.attempt(payment_id, "approved", "succeed")

    with pytest.raises(EventNotApplicable) as refused:
        payment_status.fold(history.events[2:], {})

    assert (refused.value.position, refused.value.what) == (3, "payment 1 was never requested")


def test_a_payment_is_requested_once() -> None:
    """A row that is there before its request means that an event would be applied twice."""
    history = History()
    history.deposit(history.open())
    rows = payment_status.fold(history.events, {})

    with pytest.raises(EventNotApplicable, match="requested before"):
        payment_status.fold(history.events, rows)
