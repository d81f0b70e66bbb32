"""Dead letters: payments that an operator has to look at, and what he can do about them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Final, NamedTuple

from litestar import Router, get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Struct

from api.amounts import decimal
from api.errors import RequestInvalid
from api.pages import LIMIT_DEFAULT, Limit
from api.problems import AS_COMMAND, problems
from api.requests import LedgerRequest, PaymentId, Text
from api.times import Timestamp, timestamp
from ledger.commands import PaymentStanding, RequeuePayment, ResolvePayment
from ledger.errors import (
    BalanceLimitExceeded,
    CommandRejected,
    InsufficientFunds,
    NotRequeueable,
    NotResolvable,
    PaymentNotFound,
)
from ledger.events import PaymentKind, Resolution
from ledger.payment import LetterState
from ledger.sql import load_statements

SQL: Final = load_statements("api", "dead_letters.sql")

OFFSET_MAX: Final = 1_000_000

Offset = Annotated[int, QueryParameter(ge=0, le=OFFSET_MAX, description="How many letters to leave out.")]


class RequeueRequest(Struct, frozen=True, kw_only=True):
    """Why a payment is sent to the gateway again, and by whom."""

    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {"why": "The gateway was down for an hour", "by": "Ada Lovelace"}


class ResolveRequest(Struct, frozen=True, kw_only=True):
    """What became of a payment, how that is known, and who says so."""

    outcome: Resolution
    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {
        "outcome": "success",
        "why": "The gateway's daily report has it",
        "by": "Ada Lovelace",
    }


class DeadLetterView(Struct, frozen=True, kw_only=True):
    """A payment that failed at the gateway, is in doubt, or has to be reconciled.

    `id` is the position of the event that made it a dead letter.
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


class LetterRow(NamedTuple):
    """A dead letter as the read model has it."""

    position: int
    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    state: LetterState
    error: str
    attempts: int
    created_at: datetime


class StandingView(Struct, frozen=True, kw_only=True):
    """Where a payment stands after the decision, in the ledger's own word for it."""

    payment_id: int
    state: str

    EXAMPLE: ClassVar[object] = {"payment_id": 1025, "state": "processing"}


@get("/", responses=problems(RequestInvalid))
async def list_dead_letters(
    request: LedgerRequest, limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> list[DeadLetterView]:
    """List the dead letters, newest first."""
    rows = await request.parts.reads.rows(SQL["page_of_letters"], {"limit": limit, "offset": offset})
    return [letter_view(LetterRow(*row)) for row in rows]


@post(
    "/{payment_id:str}/requeue",
    status_code=202,
    responses=problems(
        *AS_COMMAND,
        PaymentNotFound,
        NotRequeueable,
        InsufficientFunds,
        BalanceLimitExceeded,
        CommandRejected,
    ),
)
async def requeue(request: LedgerRequest, payment_id: PaymentId, data: JSONBody[RequeueRequest]) -> StandingView:
    """Send a payment that failed at the gateway there again; a withdrawal's money is set aside anew."""
    command = RequeuePayment(
        command_id=request.id,
        by=data.by,
        payment_id=payment_id,
        why=data.why,
        same_gateway_key=not request.parts.settings.gateway_inquiry,
    )
    return _standing(await request.parts.execute(command))


@post(
    "/{payment_id:str}/resolve",
    status_code=202,
    responses=problems(
        *AS_COMMAND,
        PaymentNotFound,
        NotResolvable,
        InsufficientFunds,
        BalanceLimitExceeded,
        CommandRejected,
    ),
)
async def resolve(request: LedgerRequest, payment_id: PaymentId, data: JSONBody[ResolveRequest]) -> StandingView:
    """Close a dead letter with an outcome that is known from elsewhere."""
    command = ResolvePayment(
        command_id=request.id, by=data.by, payment_id=payment_id, outcome=data.outcome, why=data.why
    )
    return _standing(await request.parts.execute(command))


dead_letters = Router("/dlq", tags=["dead letters"], route_handlers=[list_dead_letters, requeue, resolve])


def letter_view(row: LetterRow) -> DeadLetterView:
    """Show a dead letter as clients and operators see it."""
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
    )


def _standing(standing: PaymentStanding) -> StandingView:
    return StandingView(payment_id=standing.payment_id, state=standing.state)
