"""The read model of dead letters: the payments that an operator has to look at, one row each, gone when dealt with.

A letter is made by the event that brings a payment into a state to be looked at: its failure at the gateway, its
parking, its contradiction, or the end that a payment comes to after it was contradicted. That event's position is the
letter's id, its time the letter's. A letter that changes its state, as from in doubt to failed, is a new letter.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeGuard, get_args

from msgspec import Struct

from ledger.domain.events import (
    AnyEvent,
    PaymentContradicted,
    PaymentEvent,
    PaymentFacts,
    PaymentFailed,
    PaymentParked,
    PaymentResolved,
    facts_of,
)
from ledger.domain.payment import LetterState
from ledger.store.statements import load_statements
from projections.contract.columns import columns
from projections.contract.event_kinds import is_of_payment
from projections.contract.log_page import Connection, Placed
from projections.contract.postgres_text import storable
from projections.contract.read_model import ReadModel, Table
from projections.contract.table_names import aimed
from projections.models.payment_status import PAYMENTS, PaymentStatus, step

SQL: Final = load_statements("projections.models", "dead_letter.sql")

CONTRADICTED: Final = "contradicted"
"""The error of a contradicted letter, which is not the error of the payment's failure."""

_Trouble = PaymentFailed | PaymentParked | PaymentContradicted | PaymentResolved
_TROUBLE: Final = frozenset(get_args(_Trouble))


class Letter(PaymentFacts, frozen=True):
    """A row of the table, column by column."""

    position: int
    state: LetterState
    error: str
    attempts: int
    created_at: datetime


class LetterChanges(Struct, frozen=True):
    """The changes of a page to the letters: new and changed letters, and the payments that have none any more."""

    letters: Sequence[Letter]
    gone: Sequence[int]


def _is_trouble(event: AnyEvent) -> TypeGuard[_Trouble]:
    return type(event) in _TROUBLE


def fold(events: Sequence[Placed], payments: Mapping[int, PaymentStatus]) -> LetterChanges:
    """Return the changes of a page to the letters; `payments` are the rows of its payments as they were before it.

    Only the few payments with trouble behind them or in the page are followed step by step.
    """
    troubled = {payment_id for payment_id, row in payments.items() if row.contradictions or row.letter}
    troubled.update(recorded.data.payment_id for _, recorded in events if _is_trouble(recorded.data))
    rows = {payment_id: payments[payment_id] for payment_id in troubled if payment_id in payments}
    letters: dict[int, Letter | None] = {}
    for position, recorded in events if troubled else ():
        event = recorded.data
        if not is_of_payment(event) or event.payment_id not in troubled:
            continue
        payment_id = event.payment_id
        before = rows.get(payment_id)
        after = rows[payment_id] = step(before, position, recorded.at, event)
        if after.letter != (None if before is None else before.letter):
            letters[payment_id] = None if after.letter is None else _letter(after, after.letter, event)
    return LetterChanges(
        letters=[letter for letter in letters.values() if letter is not None],
        gone=sorted(payment_id for payment_id, letter in letters.items() if letter is None),
    )


def _letter(row: PaymentStatus, state: LetterState, event: PaymentEvent) -> Letter:
    assert row.letter == state, (row, state)
    if state != "contradicted" and isinstance(event, PaymentFailed | PaymentParked):
        error = storable(event.reason)
    else:
        error = CONTRADICTED
    return Letter(
        *facts_of(row),
        position=row.position,
        state=state,
        error=error,
        attempts=row.attempts,
        created_at=row.updated_at,
    )


def store(connection: Connection, changes: LetterChanges, suffix: str) -> None:
    """Send the changes to be written."""
    if changes.gone:
        connection.execute(aimed(SQL["remove_letters"], suffix), {"payment_id": changes.gone}, prepare=True)
    if changes.letters:
        connection.execute(aimed(SQL["store_letters"], suffix), columns(Letter, changes.letters), prepare=True)


MODEL: Final = ReadModel(
    name="dead_letter",
    tables=(Table(name="dead_letter", key=("payment_id",), columns=Letter.__struct_fields__),),
    reads=(PAYMENTS,),
    fold=fold,
    store=store,
)
