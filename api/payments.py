"""Payments: asking for deposits and withdrawals, and following them.

What a request is answered with is made from what its first batch recorded and from nothing else, so that a replay is
answered with the same bytes: neither the request's id nor a time of its own stands in it.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from litestar import Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import JSONBody, QueryParameter
from msgspec import Struct

from api.amounts import AmountAboveZero, amount, decimal
from api.answers import REPLAYED, Answer, replay_headers
from api.errors import (
    CursorInvalid,
    IdempotencyKeyInvalid,
    ReadsBusy,
    RequestInvalid,
)
from api.pages import LIMIT_DEFAULT, Cursor, Limit
from api.payment_reads import PaymentFilter, PaymentRow, PaymentStatus
from api.problems import AS_COMMAND, problem_response, problems, too_little_money
from api.requests import (
    IdempotencyKeyHeader,
    Identifier,
    LedgerRequest,
    PaymentId,
    idempotency_key,
)
from api.times import Timestamp, optional_timestamp, timestamp
from ledger.commands import PaymentAcceptance, RequestDeposit, RequestWithdrawal
from ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    PaymentNotFound,
)
from ledger.events import PaymentEvent, PaymentKind, Recorded
from ledger.identifiers import ID_MAX

Status = Annotated[PaymentStatus | None, QueryParameter(description="Only payments of this status.")]
Kind = Annotated[PaymentKind | None, QueryParameter(name="type", description="Only payments of this type.")]
OfUser = Annotated[
    int | None, QueryParameter(name="user_id", ge=1, le=ID_MAX, description="Only payments of this user.")
]


# --- requests --------------------------------------------------------------------------------------------------------


class DepositRequest(Struct, frozen=True, kw_only=True):
    """A deposit: the user is credited the amount less its fee."""

    user_id: Identifier
    deposit: AmountAboveZero

    EXAMPLE: ClassVar[object] = {"user_id": 1, "deposit": 200}


class WithdrawalRequest(Struct, frozen=True, kw_only=True):
    """A withdrawal: the user is debited the amount and its fee."""

    user_id: Identifier
    amount: AmountAboveZero

    EXAMPLE: ClassVar[object] = {"user_id": 1, "amount": 50}


# --- answers ---------------------------------------------------------------------------------------------------------


class PaymentAccepted(Struct, frozen=True, kw_only=True):
    """A payment that was accepted and is on its way; `deposit` or `withdraw` is its amount, the other is null."""

    payment_id: int
    user_id: int
    type: PaymentKind
    status: Literal["processing"]
    amount: Decimal
    deposit: Decimal | None
    withdraw: Decimal | None
    commission: Decimal
    currency: str
    created_at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "payment_id": 1,
        "user_id": 1,
        "type": "deposit",
        "status": "processing",
        "amount": 200.0,
        "deposit": 200.0,
        "withdraw": None,
        "commission": 4.0,
        "currency": "USD",
        "created_at": "2026-11-23T09:30:00.000000Z",
    }


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment as it stands. `attempts` counts the calls of the gateway; `transaction_status` has no `new`."""

    payment_id: int
    user_id: int
    type: PaymentKind
    amount: Decimal
    commission: Decimal
    currency: str
    status: PaymentStatus
    attempts: int
    last_error: str | None
    transaction_status: Literal["processing", "success", "failed"]
    next_retry_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "payment_id": 1,
        "user_id": 1,
        "type": "deposit",
        "amount": 200.0,
        "commission": 4.0,
        "currency": "USD",
        "status": "success",
        "attempts": 2,
        "last_error": None,
        "transaction_status": "success",
        "next_retry_at": None,
        "created_at": "2026-11-23T09:30:00.000000Z",
        "updated_at": "2026-11-23T09:30:02.000000Z",
    }


class PaymentPage(Struct, frozen=True, kw_only=True):
    """A page of payments, newest first; `next_cursor` is null on the last one."""

    items: list[PaymentView]
    next_cursor: str | None

    EXAMPLE: ClassVar[object] = {"items": [PaymentView.EXAMPLE], "next_cursor": None}


class EventView(Struct, frozen=True, kw_only=True):
    """An event as it was recorded: where in the log and in its stream, when, by what, and what it says.

    Amounts in `data` are in minor units, as recorded.
    """

    position: int
    stream: str
    version: int
    topic: str
    at: Timestamp
    command_id: str
    cause: str
    by: str | None
    data: dict[str, Any]

    EXAMPLE: ClassVar[object] = {
        "position": 2,
        "stream": "payment-1",
        "version": 1,
        "topic": "payment.requested",
        "at": "2026-11-23T09:30:00.000000Z",
        "command_id": "6f9619ff8b86d011b42d00cf4fc964ff",
        "cause": "RequestDeposit",
        "by": None,
        "data": {"payment_id": 1, "account_id": 1, "kind": "deposit", "amount_minor": 20000, "fee_minor": 400},
    }


class EventList(Struct, frozen=True, kw_only=True):
    """A payment's history, oldest first."""

    items: list[EventView]

    EXAMPLE: ClassVar[object] = {"items": [EventView.EXAMPLE]}


# --- handlers --------------------------------------------------------------------------------------------------------

_ACCEPTED_HEADERS: Final = [
    ResponseHeader(
        name="Location", value="", description="Where the payment can be followed.", documentation_only=True
    ),
    ResponseHeader(
        name=REPLAYED, value="true", description="`true` on the answer to a replay.", documentation_only=True
    ),
]
_AS_PAYMENT: Final = (*AS_COMMAND, AccountNotFound, AmountInvalid, IdempotencyKeyInvalid, IdempotencyKeyReused)


@post(
    "/deposit",
    status_code=202,
    opt={"amount_path": "deposit"},
    response_headers=_ACCEPTED_HEADERS,
    responses=problems(*_AS_PAYMENT, BalanceLimitExceeded),
)
async def deposit(
    request: LedgerRequest, data: JSONBody[DepositRequest], key: IdempotencyKeyHeader = None
) -> Answer[PaymentAccepted]:
    """Take a deposit. It is accepted at once and settled when the gateway has moved the money."""
    command = RequestDeposit(
        command_id=request.id,
        account_id=data.user_id,
        amount=amount(data.deposit),
        fee_rate_ppm=request.parts.settings.fee_rate_ppm,
        idempotency_key=idempotency_key(key),
    )
    return _answer(await request.parts.execute(command))


@post(
    "/withdraw",
    status_code=202,
    response_headers=_ACCEPTED_HEADERS,
    responses=problems(*_AS_PAYMENT, InsufficientFunds, recorded=too_little_money(payment_id=1025)),
)
async def withdraw(
    request: LedgerRequest, data: JSONBody[WithdrawalRequest], key: IdempotencyKeyHeader = None
) -> Answer[PaymentAccepted]:
    """Take a withdrawal. Amount and fee are set aside at once; too little money is recorded as a failed payment."""
    command = RequestWithdrawal(
        command_id=request.id,
        account_id=data.user_id,
        amount=amount(data.amount),
        fee_rate_ppm=request.parts.settings.fee_rate_ppm,
        idempotency_key=idempotency_key(key),
    )
    return _answer(await request.parts.execute(command))


@get("/{payment_id:str}", responses=problems(PaymentNotFound, RequestInvalid, ReadsBusy))
async def read_payment(request: LedgerRequest, payment_id: PaymentId) -> PaymentView:
    """Read how far a payment is."""
    return payment_view(await request.parts.payments.get(payment_id))


@get("/", responses=problems(RequestInvalid, CursorInvalid, ReadsBusy))
async def list_payments(
    request: LedgerRequest,
    user_id: OfUser = None,
    status: Status = None,
    kind: Kind = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> PaymentPage:
    """List payments, newest first. With filters, a page may be short and still have a next one."""
    wanted = PaymentFilter(user_id, status, kind)
    return payment_page(*await request.parts.payments.page("payments", wanted, limit=limit, cursor=cursor))


@get("/{payment_id:str}/events", responses=problems(PaymentNotFound, RequestInvalid))
async def read_history(request: LedgerRequest, payment_id: PaymentId) -> EventList:
    """Read what has happened to a payment, event by event."""
    return _events(await request.parts.payments.history(payment_id))


payments = Router(
    "/payments",
    tags=["payments"],
    route_handlers=[deposit, withdraw, read_payment, list_payments, read_history],
)


# --- mapping ---------------------------------------------------------------------------------------------------------


def payment_view(row: PaymentRow) -> PaymentView:
    """Show a payment as clients see it."""
    return PaymentView(
        payment_id=row.payment_id,
        user_id=row.account_id,
        type=row.kind,
        amount=decimal(row.amount_minor, row.currency),
        commission=decimal(row.fee_minor, row.currency),
        currency=row.currency,
        status=row.status,
        attempts=row.attempts,
        last_error=row.last_error,
        transaction_status="processing" if row.status == "new" else row.status,
        next_retry_at=optional_timestamp(row.next_retry_at),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def payment_page(rows: Sequence[PaymentRow], next_cursor: str | None) -> PaymentPage:
    """Show a page of payments."""
    return PaymentPage(items=[payment_view(row) for row in rows], next_cursor=next_cursor)


def event_view(position: int, recorded: Recorded[Any]) -> EventView:
    """Show an event as it was recorded."""
    return EventView(
        position=position,
        stream=recorded.originator_id,
        version=recorded.originator_version,
        topic=recorded.data.TOPIC,
        at=timestamp(recorded.at),
        command_id=recorded.command_id,
        cause=recorded.cause,
        by=recorded.by,
        data=msgspec.to_builtins(recorded.data),
    )


def _events(history: Sequence[tuple[int, Recorded[PaymentEvent]]]) -> EventList:
    return EventList(items=[event_view(position, recorded) for position, recorded in history])


def _answer(acceptance: PaymentAcceptance) -> Answer[Any]:
    headers = replay_headers(replayed=acceptance.replayed)
    if acceptance.refused:
        return problem_response(too_little_money(payment_id=acceptance.payment_id), headers)
    headers["Location"] = f"/api/v1/payments/{acceptance.payment_id}"
    return Answer(accepted(acceptance), status_code=202, headers=headers)


def accepted(acceptance: PaymentAcceptance) -> PaymentAccepted:
    """Show a payment as it was accepted, in the first batch and in every replay."""
    is_deposit = acceptance.kind == "deposit"
    moved = decimal(acceptance.amount_minor, acceptance.currency)
    return PaymentAccepted(
        payment_id=acceptance.payment_id,
        user_id=acceptance.account_id,
        type=acceptance.kind,
        status="processing",
        amount=moved,
        deposit=moved if is_deposit else None,
        withdraw=None if is_deposit else moved,
        commission=decimal(acceptance.fee_minor, acceptance.currency),
        currency=acceptance.currency,
        created_at=timestamp(acceptance.requested_at),
    )
