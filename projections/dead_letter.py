"""The read model of dead letters: the payments that an operator has to look at, one row each, gone when dealt with.

A letter is made by the event that brings a payment into a state to be looked at: its failure at the gateway, its
parking, its contradiction, or the end that a payment comes to after it was contradicted. That event's position is the
letter's id, its time the letter's. A letter that changes its state, as from in doubt to failed, is a new letter.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.events import (
    AccountEvent,
    PaymentContradicted,
    PaymentEvent,
    PaymentFailed,
    PaymentKind,
    PaymentParked,
    PaymentResolved,
)
from ledger.payment import LetterState
from ledger.sql import load_statements
from projections.page import Placed
from projections.payment_status import PaymentStatus, step
from projections.tables import aimed, columns
from projections.text import storable

SQL: Final = load_statements("projections", "dead_letter.sql")

CONTRADICTED: Final = "contradicted"
"""The error of a letter to reconcile: what had failed is not what is wrong with it."""

_TROUBLE: Final = (PaymentFailed, PaymentParked, PaymentContradicted, PaymentResolved)


class Letter(Struct):
    """A row of the table, column by column."""

    payment_id: int
    position: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    state: LetterState
    error: str
    attempts: int
    created_at: datetime


class LetterChanges(Struct, frozen=True):
    """What a page does to the letters: those it makes or makes anew, and the payments that have none any more."""

    letters: Sequence[Letter]
    gone: Sequence[int]


def letter_state(row: PaymentStatus | None) -> LetterState | None:
    """Why an operator has to look at a payment, if he has to; the same rule as `ledger.payment.Payment.letter`."""
    if row is None:
        return None
    if row.state == "in_doubt":
        return "in_doubt"
    if row.contradictions and row.state in {"succeeded", "failed"}:
        return "reconcile"
    return "failed" if row.state == "failed" and not row.closed and row.ended_by != "request" else None


def fold(events: Sequence[Placed], payments: Mapping[int, PaymentStatus]) -> LetterChanges:
    """Give what a page does to the letters; `payments` are the rows of its payments as they were before it.

    Only the few payments with trouble behind them or in the page are followed step by step.
    """
    troubled = {payment_id for payment_id, row in payments.items() if row.contradictions or letter_state(row)}
    troubled.update(recorded.data.payment_id for _, recorded in events if isinstance(recorded.data, _TROUBLE))
    rows = {payment_id: copy(payments[payment_id]) for payment_id in troubled if payment_id in payments}
    letters: dict[int, Letter | None] = {}
    for position, recorded in events if troubled else ():
        event = recorded.data
        if isinstance(event, AccountEvent) or event.payment_id not in troubled:
            continue
        payment_id = event.payment_id
        before = letter_state(rows.get(payment_id))
        row = rows[payment_id] = step(rows.get(payment_id), position, recorded.at, event)
        after = letter_state(row)
        if after != before:
            letters[payment_id] = None if after is None else _letter(row, after, event)
    return LetterChanges(
        letters=[letter for letter in letters.values() if letter is not None],
        gone=sorted(payment_id for payment_id, letter in letters.items() if letter is None),
    )


def _letter(row: PaymentStatus, state: LetterState, event: PaymentEvent) -> Letter:
    if state != "reconcile" and isinstance(event, PaymentFailed | PaymentParked):
        error = storable(event.reason)
    else:
        error = CONTRADICTED
    return Letter(
        payment_id=row.payment_id,
        position=row.position,
        account_id=row.account_id,
        kind=row.kind,
        amount_minor=row.amount_minor,
        fee_minor=row.fee_minor,
        currency=row.currency,
        state=state,
        error=error,
        attempts=row.attempts,
        created_at=row.updated_at,
    )


def store(connection: psycopg.Connection[Any], changes: LetterChanges, suffix: str) -> None:
    """Send the changes to be written."""
    if changes.gone:
        connection.execute(aimed(SQL["remove_letters"], suffix), {"payment_id": changes.gone}, prepare=True)
    if changes.letters:
        connection.execute(aimed(SQL["store_letters"], suffix), columns(Letter, changes.letters), prepare=True)
