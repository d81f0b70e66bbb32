"""The read model of payments as their clients see them.

`state` is the ledger's word for where a payment stands, `status` the client's: `new` until the first outcome, then
`processing`, in doubt too, then `success` or `failed`. `attempts` counts the calls of all series. `last_error` is what
the last of them met and null on success; `next_retry_at` is when the gateway is called or asked again, as long as that
is known and still to come. The flags behind them are what `dead_letter` needs to tell whether an operator has to look.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, assert_never

import msgspec

from ledger.domain.events import (
    EndedBy,
    GatewayAttempted,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEvent,
    PaymentFacts,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    facts_of,
)
from ledger.domain.evolve import closes, state_after, unreconciled_after
from ledger.domain.payment import LetterState, PaymentState, letter_state
from ledger.store.statements import load_statements
from projections.contract.columns import columns
from projections.contract.event_kinds import is_of_payment
from projections.contract.log_page import Connection, Placed
from projections.contract.postgres_text import storable
from projections.contract.read_model import Lookup, ReadModel, Table
from projections.contract.table_names import aimed
from projections.errors import EventNotApplicable

SQL: Final = load_statements("projections.models", "payment_status.sql")

Status = Literal["new", "processing", "success", "failed"]

STATUS: Final[Mapping[PaymentState, Status]] = {
    "new": "new",
    "processing": "processing",
    "in_doubt": "processing",
    "succeeded": "success",
    "failed": "failed",
}
"""The client's word for each state."""


class PaymentStatus(PaymentFacts, frozen=True):
    """A row of the table, column by column."""

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

    @property
    def letter(self) -> LetterState | None:
        """Why an operator has to look at the payment, if they have to."""
        return letter_state(self.state, ended_by=self.ended_by, closed=self.closed, unreconciled=self.contradictions)


def payments_in(events: Iterable[Placed]) -> set[int]:
    """The payments whose rows a page changes."""
    return {recorded.data.payment_id for _, recorded in events if is_of_payment(recorded.data)}


def fold(events: Iterable[Placed], known: Mapping[int, PaymentStatus]) -> dict[int, PaymentStatus]:
    """Give the rows that a page makes or changes, from the rows of its payments as they were before it.

    Raises EventNotApplicable for an event of a payment that was never requested, or requested before.
    """
    rows: dict[int, PaymentStatus] = {}
    for position, recorded in events:
        event = recorded.data
        if is_of_payment(event):
            payment_id = event.payment_id
            rows[payment_id] = step(rows.get(payment_id) or known.get(payment_id), position, recorded.at, event)
    return rows


def step(row: PaymentStatus | None, position: int, at: datetime, event: PaymentEvent) -> PaymentStatus:
    """Apply one event to a row; the request makes it out of nothing."""
    if isinstance(event, PaymentRequested):
        if row is not None:
            raise EventNotApplicable(position=position, what=f"payment {event.payment_id} was requested before")
        return _requested(event, position, at)
    if row is None:
        raise EventNotApplicable(position=position, what=f"payment {event.payment_id} was never requested")
    assert row.payment_id == event.payment_id, (row.payment_id, event)
    assert position > row.position, (position, row.position)
    state, change = state_after(row.state, event), msgspec.structs.replace
    stepped = change(row, position=position, updated_at=at, state=state, status=STATUS[state])
    match event:
        case GatewayAttempted(late=False):
            last_error = None if event.outcome == "approved" else storable(event.error or event.outcome)
            next_retry_at = event.retry_at or event.inquire_at
            return change(stepped, attempts=row.attempts + 1, last_error=last_error, next_retry_at=next_retry_at)
        case PaymentSucceeded() | PaymentFailed():
            last_error = storable(event.reason) if isinstance(event, PaymentFailed) else None
            return change(stepped, last_error=last_error, next_retry_at=None, ended_by=event.ended_by)
        case PaymentParked() | PaymentRequeued():
            return change(stepped, next_retry_at=None, ended_by=None)
        case PaymentContradicted():
            return change(stepped, contradictions=row.contradictions + 1)
        case PaymentResolved() | PaymentAdjusted():
            left = unreconciled_after(row.state, event, unreconciled=row.contradictions)
            return change(stepped, closed=row.closed or closes(event), contradictions=left)
        case GatewayAttempted() | PaymentInquired():
            return stepped  # an answer that changes more is followed by an event that says so
        case never:
            assert_never(never)


def _requested(event: PaymentRequested, position: int, at: datetime) -> PaymentStatus:
    return PaymentStatus(
        *facts_of(event),
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


def store(connection: Connection, rows: Mapping[int, PaymentStatus], suffix: str) -> None:
    """Send rows to be written, new and changed ones alike."""
    if rows:
        connection.execute(aimed(SQL["store_payments"], suffix), columns(PaymentStatus, rows.values()), prepare=True)


PAYMENTS: Final = Lookup(ids_in=payments_in, statement=SQL["read_payments"], row_type=PaymentStatus)
"""The rows of the payments that a page is about."""

MODEL: Final = ReadModel(
    name="payment_status",
    tables=(Table(name="payment_status", key=("payment_id",), columns=PaymentStatus.__struct_fields__),),
    reads=(PAYMENTS,),
    fold=fold,
    store=store,
)
