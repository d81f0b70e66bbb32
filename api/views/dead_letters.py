"""Answers about dead letters, over HTTP and on the command line."""

from decimal import Decimal
from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType

from api.http.amounts import decimal
from api.http.times import Timestamp, timestamp
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import LetterState
from projections.models.dead_letter import Letter


class DeadLetterView(Struct, frozen=True, kw_only=True):
    """A payment that failed at the gateway, is in doubt, or was contradicted by the gateway after its end.

    `id` is the position of the event that made it a dead letter; a ledger with several partitions also names the
    `partition` whose log that is.
    """

    id: int
    payment_id: int
    user_id: int
    amount: Decimal
    commission: Decimal
    currency: str
    payment_type: PaymentKind
    error: str
    attempts: int
    created_at: Timestamp
    state: LetterState
    partition: int | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        "id": 17,
        "payment_id": 1025,
        "user_id": 1,
        "amount": 50.0,
        "commission": 1.0,
        "currency": "USD",
        "payment_type": "withdraw",
        "error": "gateway_error_502",
        "attempts": 3,
        "created_at": "2026-11-23T09:30:00.000000Z",
        "state": "failed",
    }


class StandingView(Struct, frozen=True, kw_only=True):
    """The state of a payment after an operator's decision, in the ledger's own word for it."""

    payment_id: int
    state: str

    EXAMPLE: ClassVar[object] = {"payment_id": 1025, "state": "processing"}


def letter_view(row: Letter, *, partition: int | UnsetType = UNSET) -> DeadLetterView:
    """Make the answer about a dead letter from its row, with the number of its partition where there are several."""
    return DeadLetterView(
        id=row.position,
        payment_id=row.payment_id,
        user_id=row.account_id,
        amount=decimal(row.amount_minor, row.currency),
        commission=decimal(row.fee_minor, row.currency),
        currency=row.currency,
        payment_type=row.kind,
        error=row.error,
        attempts=row.attempts,
        created_at=timestamp(row.created_at),
        state=row.state,
        partition=partition,
    )
