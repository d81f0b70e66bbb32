"""Payments: asking for deposits and withdrawals, one or many at once, and following them.

What a request is answered with is made from what its first batch recorded and from nothing else, so that a replay is
answered with the same bytes: neither the request's id nor a time of its own stands in it.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from litestar import Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import JSONBody, KwargDefinition, QueryParameter
from msgspec import UNSET, Meta, Raw, Struct

from api.amounts import AmountAboveZero, amount, decimal
from api.answers import REPLAYED, Answer, replay_headers
from api.errors import (
    CursorInvalid,
    FieldError,
    IdempotencyKeyInvalid,
    ReadsBusy,
    RequestError,
    RequestInvalid,
)
from api.pages import LIMIT_DEFAULT, Cursor, Limit
from api.payment_reads import PaymentFilter, PaymentRow, PaymentStatus
from api.problems import AS_COMMAND, ProblemDocument, describe, problem_response, problems, too_little_money
from api.requests import (
    IDEMPOTENCY_KEY_PATTERN,
    IdempotencyKeyHeader,
    Identifier,
    LedgerRequest,
    PaymentId,
    decode,
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
    LedgerError,
    PaymentNotFound,
)
from ledger.events import PaymentEvent, PaymentKind, Recorded
from ledger.identifiers import ID_MAX

BATCH_MAX: Final = 1_000

Shape = dict[str, Any]
"""Types of fields for the documentation, where the fields' own say less."""

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


class BatchItem(Struct, frozen=True, kw_only=True):
    """One payment of a batch, with an idempotency key of its own if it is to have one."""

    type: PaymentKind
    user_id: Identifier
    amount: AmountAboveZero
    idempotency_key: Annotated[str | None, KwargDefinition(pattern=IDEMPOTENCY_KEY_PATTERN)] = None

    EXAMPLE: ClassVar[object] = {"type": "deposit", "user_id": 1, "amount": 200, "idempotency_key": "order-77"}


class BatchRequest(Struct, frozen=True, kw_only=True):
    """Payments to be taken in this order. Each is taken or refused by itself."""

    payments: Annotated[list[Raw], Meta(min_length=1, max_length=BATCH_MAX)]

    SHAPE: ClassVar[Shape] = {"payments": Annotated[list[BatchItem], KwargDefinition(min_items=1, max_items=BATCH_MAX)]}
    EXAMPLE: ClassVar[object] = {"payments": [BatchItem.EXAMPLE, {"type": "withdraw", "user_id": 1, "amount": "50.00"}]}


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


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """What became of each payment of a batch, in its order: the payment, or a problem, which has a `code`."""

    results: list[Any]

    SHAPE: ClassVar[Shape] = {"results": list[PaymentAccepted | ProblemDocument]}
    EXAMPLE: ClassVar[object] = {"results": [PaymentAccepted.EXAMPLE, ProblemDocument.EXAMPLE]}


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


@post("/batch", status_code=200, responses=problems(*AS_COMMAND))
async def take_batch(request: LedgerRequest, data: JSONBody[BatchRequest]) -> BatchAnswer:
    """Take up to 1,000 payments in one request. Each is answered as if it had been sent by itself.

    Each has its own `idempotency_key`, if any; an `Idempotency-Key` for all of them is refused.
    """
    _refuse_key_for_all(request)
    rate = request.parts.settings.fee_rate_ppm
    wishes = [_wish(raw, index, command_id=request.id, rate=rate) for index, raw in enumerate(data.payments)]
    answers = await request.parts.execute_all([wish for wish in wishes if not isinstance(wish, ProblemDocument)])
    return BatchAnswer(results=_in_order(wishes, answers))


@get("/{payment_id:str}", responses=problems(PaymentNotFound, RequestInvalid, ReadsBusy))
async def read_payment(request: LedgerRequest, payment_id: PaymentId) -> PaymentView:
    """Read how far a payment is."""
    return payment_view(await request.parts.payments.get(payment_id))


@get("/", responses=problems(RequestInvalid, CursorInvalid))
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
    route_handlers=[deposit, withdraw, take_batch, read_payment, list_payments, read_history],
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
    return Answer(_accepted(acceptance), status_code=202, headers=headers)


def _accepted(acceptance: PaymentAcceptance) -> PaymentAccepted:
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


# --- batches ---------------------------------------------------------------------------------------------------------

Wish = RequestDeposit | RequestWithdrawal


def _refuse_key_for_all(request: LedgerRequest) -> None:
    """Refuse a key that could only be left out: who sends the batch again because of it would pay twice."""
    if request.headers.get("idempotency-key"):
        raise RequestInvalid.at("Idempotency-Key", "cannot be given for a whole batch; give each payment its own")


def _wish(raw: Raw, index: int, *, command_id: str, rate: int) -> Wish | ProblemDocument:
    """Read one payment of a batch; what cannot be read is a problem of its own."""
    try:
        item: BatchItem = decode(bytes(raw), BatchItem)
        command = RequestDeposit if item.type == "deposit" else RequestWithdrawal
        return command(
            command_id=command_id,
            account_id=item.user_id,
            amount=amount(item.amount),
            fee_rate_ppm=rate,
            idempotency_key=idempotency_key(item.idempotency_key),
        )
    except (RequestError, AmountInvalid) as error:
        return _item_problem(error, index)


def _in_order(
    wishes: Sequence[Wish | ProblemDocument], answers: Sequence[PaymentAcceptance | LedgerError]
) -> list[PaymentAccepted | ProblemDocument]:
    """Put the answers back between what could not be read."""
    left = iter(answers)
    return [
        wish if isinstance(wish, ProblemDocument) else _result(next(left), index) for index, wish in enumerate(wishes)
    ]


def _result(answer: PaymentAcceptance | LedgerError, index: int) -> PaymentAccepted | ProblemDocument:
    if isinstance(answer, LedgerError):
        return _item_problem(answer, index)
    return _placed(too_little_money(payment_id=answer.payment_id), index) if answer.refused else _accepted(answer)


def _item_problem(error: LedgerError, index: int) -> ProblemDocument:
    """Describe what is wrong with one payment of a batch."""
    return _placed(describe(error, UNSET, key_path="idempotency_key"), index)


def _placed(document: ProblemDocument, index: int) -> ProblemDocument:
    """Put a payment's place in the batch before each path."""
    if isinstance(document.errors, list):
        place = f"payments[{index}]"
        paths = [FieldError(f"{place}.{each.path}".rstrip("."), each.message) for each in document.errors]
        return msgspec.structs.replace(document, errors=paths)
    return document
