"""Users: their accounts, what is in them, and how it came to be there."""

from decimal import Decimal
from typing import Annotated, ClassVar

from litestar import Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import JSONBody, KwargDefinition, QueryParameter
from msgspec import Raw, Struct, field

from api.account_reads import AccountRow, Statement, StatementEntry
from api.amounts import Amount, amount, decimal
from api.answers import REPLAYED, Answer, replay_headers
from api.errors import (
    AccountNotOpenThen,
    CursorInvalid,
    IdempotencyKeyInvalid,
    ReadsBusy,
    RequestInvalid,
)
from api.pages import LIMIT_DEFAULT, Cursor, Limit
from api.payment_reads import PaymentFilter
from api.payments import Kind, PaymentPage, Status, payment_page
from api.problems import AS_COMMAND, problems
from api.requests import IdempotencyKeyHeader, LedgerRequest, Position, UserId, idempotency_key
from api.times import Timestamp, moment, timestamp
from ledger.commands import AccountOpening, OpenAccount
from ledger.errors import AccountNotFound, AmountInvalid, CurrencyUnknown, IdempotencyKeyReused
from ledger.history import AccountAt
from ledger.money import CURRENCY_DECIMALS


class UserRequest(Struct, frozen=True, kw_only=True):
    """A user to be opened, with what he has from the start, zero or more, and in which currency."""

    balance: Amount = field(default_factory=lambda: Raw(b"0"))
    currency: Annotated[str | None, KwargDefinition(schema_extra={"enum": [*sorted(CURRENCY_DECIMALS), None]})] = None

    EXAMPLE: ClassVar[object] = {"balance": 1000}


class UserView(Struct, frozen=True, kw_only=True):
    """A user and his money: `available` is what a withdrawal may use, `held` is set aside for withdrawals."""

    id: int
    balance: Decimal
    available: Decimal
    held: Decimal
    currency: str

    EXAMPLE: ClassVar[object] = {"id": 1, "balance": 1000.5, "available": 949.5, "held": 51.0, "currency": "USD"}


class BalanceView(Struct, frozen=True, kw_only=True):
    """What a user had after the event at `position`, the last one of his that counts, which happened at `at`."""

    balance: Decimal
    held: Decimal
    available: Decimal
    currency: str
    position: int
    at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "balance": 1196.0,
        "held": 0.0,
        "available": 1196.0,
        "currency": "USD",
        "position": 5,
        "at": "2026-11-23T09:30:00.000000Z",
    }


class StatementItem(Struct, frozen=True, kw_only=True):
    """One settled payment, or the opening: `amount` is signed and net of fees; `payment_id` is null for the opening."""

    position: int
    payment_id: int | None
    at: Timestamp
    amount: Decimal
    balance_after: Decimal

    EXAMPLE: ClassVar[object] = {
        "position": 5,
        "payment_id": 1,
        "at": "2026-11-23T09:30:00.000000Z",
        "amount": 196.0,
        "balance_after": 1196.0,
    }


class StatementView(Struct, frozen=True, kw_only=True):
    """A page of a statement, oldest first, with the balances before and after its whole range."""

    opening_balance: Decimal
    closing_balance: Decimal
    currency: str
    items: list[StatementItem]
    next_cursor: str | None

    EXAMPLE: ClassVar[object] = {
        "opening_balance": 1000.0,
        "closing_balance": 1196.0,
        "currency": "USD",
        "items": [StatementItem.EXAMPLE],
        "next_cursor": None,
    }


At = Annotated[str | None, QueryParameter(description="A time, RFC 3339 with an offset.", format="date-time")]
From = Annotated[
    str | None,
    QueryParameter(name="from", description="The first time that counts, RFC 3339.", format="date-time"),
]
To = Annotated[
    str | None,
    QueryParameter(name="to", description="The first time that counts no more, RFC 3339.", format="date-time"),
]


@post(
    "/",
    status_code=201,
    opt={"amount_path": "balance"},
    response_headers=[
        ResponseHeader(name="Location", value="", description="Where the user can be read.", documentation_only=True),
        ResponseHeader(
            name=REPLAYED, value="true", description="`true` on the answer to a replay.", documentation_only=True
        ),
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
    """Open a user with an account. Without a currency, the ledger's own is taken."""
    command = OpenAccount(
        command_id=request.id,
        opening=amount(data.balance),
        currency=request.parts.settings.currency if data.currency is None else data.currency,
        idempotency_key=idempotency_key(key),
    )
    return _opened(await request.parts.execute(command))


@get("/{user_id:str}", responses=problems(AccountNotFound, RequestInvalid, ReadsBusy))
async def read_user(request: LedgerRequest, user_id: UserId) -> UserView:
    """Read a user's balance."""
    return _user(await request.parts.accounts.get(user_id))


@get("/{user_id:str}/balance", responses=problems(AccountNotFound, AccountNotOpenThen, RequestInvalid, ReadsBusy))
async def read_balance(
    request: LedgerRequest, user_id: UserId, at: At = None, position: Position = None
) -> BalanceView:
    """Read a user's balance as it was at a time or at a position of the log; without either, as it is now.

    It is computed from the events, and so is never behind.
    """
    found = await request.parts.accounts.at(user_id, position=position, at=moment(at, path="at"))
    return balance_view(found)


@get("/{user_id:str}/transactions", responses=problems(AccountNotFound, RequestInvalid, CursorInvalid, ReadsBusy))
async def list_transactions(
    request: LedgerRequest,
    user_id: UserId,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    status: Status = None,
    kind: Kind = None,
) -> PaymentPage:
    """List a user's payments, newest first. With filters, a page may be short and still have a next one."""
    wanted = PaymentFilter(user_id, status, kind)
    rows, next_cursor = await request.parts.payments.page("transactions", wanted, limit=limit, cursor=cursor)
    if not rows:
        await request.parts.accounts.get(user_id)  # there may be no such user
    return payment_page(rows, next_cursor)


@get("/{user_id:str}/statement", responses=problems(AccountNotFound, RequestInvalid, CursorInvalid, ReadsBusy))
async def read_statement(
    request: LedgerRequest,
    user_id: UserId,
    start: From = None,
    end: To = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> StatementView:
    """Read what was settled on a user's account in a range of time, oldest first.

    The first page fixes the range, so that all pages fit the opening and closing balance while payments go on.
    """
    first, last = moment(start, path="from"), moment(end, path="to")
    return _statement(
        await request.parts.accounts.statement(user_id, start=first, end=last, limit=limit, cursor=cursor)
    )


users = Router(
    "/users", tags=["users"], route_handlers=[open_user, read_user, read_balance, list_transactions, read_statement]
)


def _opened(opening: AccountOpening) -> Answer[UserView]:
    row = AccountRow(opening.account_id, opening.currency, opening.opening_minor, 0)
    location = {"Location": f"/api/v1/users/{opening.account_id}"}
    return Answer(_user(row), status_code=201, headers=location | replay_headers(replayed=opening.replayed))


def _user(account: AccountRow) -> UserView:
    currency = account.currency
    return UserView(
        id=account.account_id,
        balance=decimal(account.posted_minor, currency),
        available=decimal(account.posted_minor - account.held_minor, currency),
        held=decimal(account.held_minor, currency),
        currency=currency,
    )


def balance_view(found: AccountAt) -> BalanceView:
    """Show an account as it was."""
    account = found.account
    return BalanceView(
        balance=decimal(account.posted_minor, account.currency),
        held=decimal(account.held_minor, account.currency),
        available=decimal(account.available_minor, account.currency),
        currency=account.currency,
        position=found.position,
        at=timestamp(found.at),
    )


def _statement(statement: Statement) -> StatementView:
    currency = statement.account.currency
    return StatementView(
        opening_balance=decimal(statement.opening_minor, currency),
        closing_balance=decimal(statement.closing_minor, currency),
        currency=currency,
        items=[_statement_item(entry, currency) for entry in statement.entries],
        next_cursor=statement.next_cursor,
    )


def _statement_item(entry: StatementEntry, currency: str) -> StatementItem:
    return StatementItem(
        position=entry.position,
        payment_id=entry.payment_id,
        at=timestamp(entry.at),
        amount=decimal(entry.amount_minor, currency),
        balance_after=decimal(entry.balance_after_minor, currency),
    )
