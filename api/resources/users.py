"""Users: the routes to open a user and to read balances, payments and statements."""

from typing import Annotated, ClassVar

from litestar import Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import JSONBody, KwargDefinition, QueryParameter
from msgspec import Raw, field

from api.auth.access import allows
from api.errors import (
    AccountNotOpenThen,
    CursorInvalid,
    IdempotencyKeyInvalid,
    ReadsBusy,
    RequestInvalid,
    StreamSetAside,
)
from api.http.amounts import amount
from api.http.cursors import LIMIT_DEFAULT
from api.http.idempotency_keys import idempotency_key
from api.http.parameters import Amount, Cursor, Limit
from api.http.problems import AS_COMMAND, problems
from api.http.responses import REPLAYED_HEADER, Answer, replay_headers
from api.http.times import parse_timestamp
from api.input.bodies import RequestBody
from api.queries.payments import PaymentFilter
from api.resources.payments import Kind, Status
from api.resources.request import IdempotencyKeyHeader, LedgerRequest, Position, UserId
from api.views.accounts import (
    BalanceView,
    StatementView,
    UserAtView,
    UserView,
    balance_view,
    opened_view,
    statement_view,
    user_view,
)
from api.views.payments import PaymentPage, payment_page
from ledger.domain.commands import AccountOpening, OpenAccount
from ledger.domain.money import CURRENCY_DECIMALS
from ledger.errors import AccountNotFound, AmountInvalid, CurrencyUnknown, IdempotencyKeyReused


class UserRequest(RequestBody, frozen=True, kw_only=True):
    """A new user: the opening balance, zero or more, and the currency."""

    balance: Amount = field(default_factory=lambda: Raw(b"0"))
    currency: Annotated[str | None, KwargDefinition(schema_extra={"enum": [*sorted(CURRENCY_DECIMALS), None]})] = None

    EXAMPLE: ClassVar[object] = {"balance": 1000}


At = Annotated[str | None, QueryParameter(description="A time, RFC 3339 with an offset.", format="date-time")]
From = Annotated[
    str | None,
    QueryParameter(name="from", description="The range's start, inclusive, RFC 3339.", format="date-time"),
]
To = Annotated[
    str | None,
    QueryParameter(name="to", description="The range's end, exclusive, RFC 3339.", format="date-time"),
]


@post(
    "/",
    status_code=201,
    opt={"amount_path": "balance", **allows("accounts:write")},
    response_headers=[
        ResponseHeader(name="Location", value="", description="The address of the user.", documentation_only=True),
        REPLAYED_HEADER,
    ],
    responses=problems(
        *AS_COMMAND,
        AmountInvalid,
        CurrencyUnknown,
        IdempotencyKeyInvalid,
        IdempotencyKeyReused,
    ),
)
async def open_user(
    request: LedgerRequest, data: JSONBody[UserRequest], key: IdempotencyKeyHeader = None
) -> Answer[UserView]:
    """Open a user with an account. The default currency is the ledger's own."""
    command = OpenAccount(
        command_id=request.id,
        by=request.by,
        caller=request.by or "",
        opening=amount(data.balance),
        currency=request.context.settings.currency if data.currency is None else data.currency,
        names_currency=data.currency is not None,
        idempotency_key=idempotency_key(key),
    )
    return _opened(await request.context.open_account(command))


@get(
    "/{user_id:str}",
    opt=allows("read", names_user="path"),
    responses=problems(AccountNotFound, RequestInvalid, ReadsBusy, StreamSetAside),
)
async def read_user(request: LedgerRequest, user_id: UserId) -> UserAtView:
    """Read a user's balance."""
    partition = request.context.of(user_id)
    return user_view(await partition.accounts.get(user_id), partition=partition.number)


@get(
    "/{user_id:str}/balance",
    opt=allows("read", names_user="path"),
    responses=problems(AccountNotFound, AccountNotOpenThen, RequestInvalid, ReadsBusy),
)
async def read_balance(
    request: LedgerRequest, user_id: UserId, at: At = None, position: Position = None
) -> BalanceView:
    """Read a user's balance at a time or at a position of the log; without either, the balance now.

    It is computed from the events, so it is never behind.
    """
    partition = request.context.of(user_id)
    found = await partition.accounts.at(user_id, position=position, at=parse_timestamp(at, path="at"))
    return balance_view(found, partition=partition.number)


@get(
    "/{user_id:str}/transactions",
    opt=allows("read", names_user="path"),
    responses=problems(AccountNotFound, RequestInvalid, CursorInvalid, ReadsBusy, StreamSetAside),
)
async def list_transactions(
    request: LedgerRequest,
    user_id: UserId,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    status: Status = None,
    kind: Kind = None,
) -> PaymentPage:
    """List a user's payments, newest first. With filters, a page may be short and still have a next page."""
    wanted = PaymentFilter(user_id, status, kind)
    rows, next_cursor = await request.context.of(user_id).payments.page(
        "transactions", wanted, limit=limit, cursor=cursor
    )
    if not rows:
        await request.context.of(user_id).accounts.get(user_id)  # raises AccountNotFound when the user does not exist
    return payment_page(rows, next_cursor)


@get(
    "/{user_id:str}/statement",
    opt=allows("read", names_user="path"),
    responses=problems(AccountNotFound, RequestInvalid, CursorInvalid, ReadsBusy, StreamSetAside),
)
async def read_statement(
    request: LedgerRequest,
    user_id: UserId,
    start: From = None,
    end: To = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> StatementView:
    """Read the settled payments of a user's account in a range of time, oldest first.

    The first page fixes the range, so that all pages agree with the opening and closing balance while payments
    continue.
    """
    first, last = parse_timestamp(start, path="from"), parse_timestamp(end, path="to")
    partition = request.context.of(user_id)
    statement = await partition.accounts.statement(user_id, start=first, end=last, limit=limit, cursor=cursor)
    return statement_view(statement, partition=partition.number)


users = Router(
    "/users", tags=["users"], route_handlers=[open_user, read_user, read_balance, list_transactions, read_statement]
)


def _opened(opening: AccountOpening) -> Answer[UserView]:
    location = {"Location": f"/api/v1/users/{opening.account_id}"}
    return Answer(opened_view(opening), status_code=201, headers=location | replay_headers(replayed=opening.replayed))
