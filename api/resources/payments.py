"""Payments: the routes to request deposits and withdrawals and to read payments.

The answer to a request is made only from the events of the payment's first batch, so that a replay gets the same bytes.
It contains neither the id of the HTTP request nor the time of the answer.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from litestar import Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import JSONBody, QueryParameter

from api.auth.access import allows
from api.errors import (
    CursorInvalid,
    IdempotencyKeyInvalid,
    ReadsBusy,
    RequestInvalid,
    StreamSetAside,
    TooManyPayments,
)
from api.http.amounts import amount
from api.http.cursors import LIMIT_DEFAULT
from api.http.idempotency_keys import idempotency_key
from api.http.parameters import AmountAboveZero, Limit, ListCursor
from api.http.problems import AS_COMMAND, problem_response, problems, too_little_money
from api.http.responses import REPLAYED_HEADER, Answer, replay_headers
from api.input.bodies import RequestBody
from api.limits.marks import ONE_PAYMENT
from api.queries.payments import PaymentFilter
from api.resources.request import (
    IdempotencyKeyHeader,
    Identifier,
    LedgerRequest,
    PaymentId,
)
from api.views.payments import (
    EventList,
    PaymentAccepted,
    PaymentPage,
    PaymentView,
    accepted,
    event_list,
    payment_page,
    payment_view,
)
from ledger.domain.commands import PaymentAcceptance, RequestDeposit, RequestWithdrawal
from ledger.domain.identifiers import ID_MAX
from ledger.domain.kinds import DEPOSIT, PaymentKind
from ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    BalanceLimitExceeded,
    CurrencyNotSupported,
    IdempotencyKeyReused,
    InsufficientFunds,
    PaymentNotFound,
    TooManyWaiting,
)
from projections.models.payment_status import Status as PaymentStatus

Status = Annotated[PaymentStatus | None, QueryParameter(description="Only payments of this status.")]
Kind = Annotated[PaymentKind | None, QueryParameter(name="type", description="Only payments of this type.")]
OfUser = Annotated[
    int | None, QueryParameter(name="user_id", ge=1, le=ID_MAX, description="Only payments of this user.")
]


# --- requests --------------------------------------------------------------------------------------------------------


class DepositRequest(RequestBody, frozen=True, kw_only=True):
    """A deposit: the user is credited the amount minus the fee."""

    user_id: Identifier
    deposit: AmountAboveZero

    EXAMPLE: ClassVar[object] = {"user_id": 1, "deposit": 200}


class WithdrawalRequest(RequestBody, frozen=True, kw_only=True):
    """A withdrawal: the user is debited the amount plus the fee."""

    user_id: Identifier
    amount: AmountAboveZero

    EXAMPLE: ClassVar[object] = {"user_id": 1, "amount": 50}


# --- answers ---------------------------------------------------------------------------------------------------------


# --- handlers --------------------------------------------------------------------------------------------------------

_ACCEPTED_HEADERS: Final = [
    ResponseHeader(name="Location", value="", description="The address of the payment.", documentation_only=True),
    REPLAYED_HEADER,
]
_AS_PAYMENT: Final = (
    *AS_COMMAND,
    AccountNotFound,
    AmountInvalid,
    CurrencyNotSupported,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    TooManyPayments,
    TooManyWaiting,
)


_REFUSED: Final = PaymentAcceptance(
    payment_id=1025,
    account_id=1,
    kind="withdraw",
    amount_minor=50_00,
    fee_minor=1_00,
    currency="USD",
    requested_at=datetime(2026, 11, 23, tzinfo=UTC),
    refused=True,
    available_minor=50_00,
)
"""The payment in the example of a recorded refusal."""


@post(
    "/deposit",
    status_code=202,
    opt={"amount_path": DEPOSIT.request_field, **allows("payments:write", names_user="body"), **ONE_PAYMENT},
    response_headers=_ACCEPTED_HEADERS,
    responses=problems(*_AS_PAYMENT, BalanceLimitExceeded),
)
async def deposit(
    request: LedgerRequest, data: JSONBody[DepositRequest], key: IdempotencyKeyHeader = None
) -> Answer[PaymentAccepted]:
    """Request a deposit. It is accepted at once and settled when the gateway has moved the money."""
    request.refuse_other_users(data.user_id)
    context = request.context
    command = RequestDeposit(
        command_id=request.id,
        by=request.by,
        account_id=data.user_id,
        amount=amount(data.deposit),
        fee_rate_ppm=context.settings.fee_rate_ppm,
        currencies=context.settings.gateway_currencies,
        idempotency_key=idempotency_key(key),
        trace_context=request.trace_context,
        waiting_max=context.settings.limit_waiting_payments,
    )
    return _answer(await context.execute(data.user_id, command))


@post(
    "/withdraw",
    status_code=202,
    opt={**allows("payments:write", names_user="body"), **ONE_PAYMENT},
    response_headers=_ACCEPTED_HEADERS,
    responses=problems(*_AS_PAYMENT, InsufficientFunds, recorded=too_little_money(_REFUSED)),
)
async def withdraw(
    request: LedgerRequest, data: JSONBody[WithdrawalRequest], key: IdempotencyKeyHeader = None
) -> Answer[PaymentAccepted]:
    """Request a withdrawal. Amount and fee are held at once; without enough money it is recorded as failed."""
    request.refuse_other_users(data.user_id)
    context = request.context
    command = RequestWithdrawal(
        command_id=request.id,
        by=request.by,
        account_id=data.user_id,
        amount=amount(data.amount),
        fee_rate_ppm=context.settings.fee_rate_ppm,
        currencies=context.settings.gateway_currencies,
        idempotency_key=idempotency_key(key),
        trace_context=request.trace_context,
        waiting_max=context.settings.limit_waiting_payments,
    )
    return _answer(await context.execute(data.user_id, command))


@get(
    "/{payment_id:str}",
    opt=allows("read", names_user="payment"),
    responses=problems(PaymentNotFound, RequestInvalid, ReadsBusy, StreamSetAside),
)
async def read_payment(request: LedgerRequest, payment_id: PaymentId) -> PaymentView:
    """Read a payment and its status."""
    return payment_view(await request.context.of(payment_id).payments.get(payment_id))


@get(
    "/",
    opt=allows("read", names_user="query"),
    responses=problems(RequestInvalid, CursorInvalid, ReadsBusy, StreamSetAside),
)
async def list_payments(
    request: LedgerRequest,
    user_id: OfUser = None,
    status: Status = None,
    kind: Kind = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: "ListCursor" = None,
) -> PaymentPage:
    """List payments, newest first. With filters, a page may be short and still have a next page.

    Over several partitions, the payments of all users are only about in order, because their clocks may differ.
    """
    wanted = PaymentFilter(user_id, status, kind)
    lists = request.context.all_payments if user_id is None else request.context.of(user_id).payments
    return payment_page(*await lists.page("payments", wanted, limit=limit, cursor=cursor))


@get(
    "/{payment_id:str}/events",
    opt=allows("read", names_user="payment"),
    responses=problems(PaymentNotFound, RequestInvalid),
)
async def read_history(request: LedgerRequest, payment_id: PaymentId) -> EventList:
    """Read the history of a payment, event by event."""
    partition = request.context.of(payment_id)
    return event_list(await partition.history.payment(payment_id), partition=partition.number)


payments = Router(
    "/payments",
    tags=["payments"],
    route_handlers=[deposit, withdraw, read_payment, list_payments, read_history],
)


# --- mapping ---------------------------------------------------------------------------------------------------------


def _answer(acceptance: PaymentAcceptance) -> Answer[Any]:
    headers = replay_headers(replayed=acceptance.replayed)
    if acceptance.refused:
        return problem_response(too_little_money(acceptance), headers)
    headers["Location"] = f"/api/v1/payments/{acceptance.payment_id}"
    return Answer(accepted(acceptance), status_code=202, headers=headers)
