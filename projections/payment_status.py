"""The read model of payments as their clients see them.

`state` is the ledger's word for where a payment stands, `status` the client's: `new` until the first outcome, then
`processing`, in doubt too, then `success` or `failed`. `attempts` counts the calls of all series. `last_error` is what
the last of them met and null on success; `next_retry_at` is when the gateway is called or asked again, as long as that
is known and still to come. The flags behind them are what `dead_letter` needs to tell whether an operator has to look.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Final, Literal

import psycopg
from msgspec import Struct

from ledger.events import (
    AccountEvent,
    EndedBy,
    GatewayAttempted,
    PaymentContradicted,
    PaymentEvent,
    PaymentFailed,
    PaymentInquired,
    PaymentKind,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Resolution,
)
from ledger.payment import PaymentState, state_after
from ledger.sql import load_statements
from projections.errors import EventNotApplicable
from projections.page import Placed
from projections.tables import aimed, columns
from projections.text import storable

SQL: Final = load_statements("projections", "payment_status.sql")

Status = Literal["new", "processing", "success", "failed"]

STATUS: Final[Mapping[PaymentState, Status]] = {
    "new": "new",
    "processing": "processing",
    "in_doubt": "processing",
    "succeeded": "success",
    "failed": "failed",
}
"""The client's word for each state."""


class PaymentStatus(Struct):
    """A row of the table, column by column."""

    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    state: PaymentState
    status: Status
    attempts: int
    last_error: str | None
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime
    position: int
    ended_by: EndedBy | None
    closed: bool
    contradictions: int


def payments_in(events: Iterable[Placed]) -> set[int]:
    """The payments whose rows a page changes."""
    return {placed[1].data.payment_id for placed in events if not isinstance(placed[1].data, AccountEvent)}


def fold(events: Iterable[Placed], known: Mapping[int, PaymentStatus]) -> dict[int, PaymentStatus]:
    """Give the rows that a page makes or changes, from the rows of its payments as they were before it.

    Raises EventNotApplicable for an event of a payment that was never requested, or requested before.
    """
    rows: dict[int, PaymentStatus] = {}
    for position, recorded in events:
        event = recorded.data
        if isinstance(event, AccountEvent):
            continue
        payment_id = event.payment_id
        row = rows.get(payment_id)
        if row is None and payment_id in known:
            row = copy(known[payment_id])
        rows[payment_id] = step(row, position, recorded.at, event)
    return rows


def step(row: PaymentStatus | None, position: int, at: datetime, event: PaymentEvent) -> PaymentStatus:
    """Apply one event to a row, in place; the request makes it out of nothing."""
    if isinstance(event, PaymentRequested):
        if row is not None:
            raise EventNotApplicable(position=position, what=f"payment {event.payment_id} was requested before")
        return _requested(event, position, at)
    if row is None:
        raise EventNotApplicable(position=position, what=f"payment {event.payment_id} was never requested")
    row.position, row.updated_at = position, at
    row.state = state_after(row.state, event)
    row.status = STATUS[row.state]
    match event:
        case GatewayAttempted(late=False):
            row.attempts += 1
            row.last_error = None if event.outcome == "approved" else storable(event.error or event.outcome)
            row.next_retry_at = event.retry_at or event.inquire_at
        case PaymentSucceeded() | PaymentFailed():
            row.last_error = storable(event.reason) if isinstance(event, PaymentFailed) else None
            row.next_retry_at, row.ended_by = None, event.ended_by
        case PaymentParked() | PaymentRequeued():
            row.next_retry_at, row.ended_by = None, None
        case PaymentContradicted():
            row.contradictions += 1
        case PaymentResolved():
            row.closed = True
            row.contradictions = _contradictions_left(row, event.outcome)
        case GatewayAttempted() | PaymentInquired():
            pass  # what came of it stands in the event that follows
    return row


def _contradictions_left(row: PaymentStatus, outcome: Resolution) -> int:
    """How many contradictions are still to be reconciled once an operator has resolved the payment."""
    if row.state == "in_doubt":
        return row.contradictions
    return row.contradictions - 1 if row.state == "failed" and outcome == "success" else 0


def _requested(event: PaymentRequested, position: int, at: datetime) -> PaymentStatus:
    return PaymentStatus(
        payment_id=event.payment_id,
        account_id=event.account_id,
        kind=event.kind,
        amount_minor=event.amount_minor,
        fee_minor=event.fee_minor,
        currency=event.currency,
        state="new",
        status="new",
        attempts=0,
        last_error=None,
        next_retry_at=None,
        created_at=at,
        updated_at=at,
        position=position,
        ended_by=None,
        closed=False,
        contradictions=0,
    )


def ask(connection: psycopg.Connection[Any], payment_ids: Iterable[int], suffix: str) -> psycopg.Cursor[Any]:
    """Ask for the rows of payments; `known` reads the answer."""
    parameters = {"payment_id": sorted(payment_ids)}
    return connection.execute(aimed(SQL["read_payments"], suffix), parameters, prepare=True, binary=True)


def known(answer: psycopg.Cursor[Any]) -> dict[int, PaymentStatus]:
    """Read the answer of `ask`."""
    return {row[0]: PaymentStatus(*row) for row in answer}


def store(connection: psycopg.Connection[Any], rows: Sequence[PaymentStatus], suffix: str) -> None:
    """Send rows to be written, new and changed ones alike."""
    if rows:
        connection.execute(aimed(SQL["store_payments"], suffix), columns(PaymentStatus, rows), prepare=True)
