"""Answers about users: the balance now, the balance at an earlier time, and the statement."""

from decimal import Decimal
from typing import ClassVar

from msgspec import Struct

from api.http.amounts import decimal
from api.http.times import Timestamp, timestamp
from api.queries.accounts import AccountRow, Statement, StatementEntry
from ledger.application.application import AccountAt
from ledger.domain.commands import AccountOpening


class UserView(Struct, frozen=True, kw_only=True):
    """A user's balance: `held` is set aside for pending withdrawals, `available` can be used for new ones."""

    id: int
    balance: Decimal
    available: Decimal
    held: Decimal
    currency: str

    EXAMPLE: ClassVar[object] = {"id": 1, "balance": 1000.5, "available": 949.5, "held": 51.0, "currency": "USD"}


class UserAtView(UserView, frozen=True, kw_only=True):
    """A user's balance as of a position of the log, that of the read models; it may be some events old."""

    partition: int
    position: int

    EXAMPLE: ClassVar[object] = {**UserView.EXAMPLE, "partition": 0, "position": 120}  # type: ignore[dict-item]


class BalanceView(Struct, frozen=True, kw_only=True):
    """A user's balance after the event at `position`, the last event of the account that counts, recorded at `at`."""

    balance: Decimal
    held: Decimal
    available: Decimal
    currency: str
    partition: int
    position: int
    at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "balance": 1196.0,
        "held": 0.0,
        "available": 1196.0,
        "currency": "USD",
        "partition": 0,
        "position": 5,
        "at": "2026-11-23T09:30:00.000000Z",
    }


class StatementItem(Struct, frozen=True, kw_only=True):
    """One settled payment, or the opening: `amount` is signed and net of fees; `payment_id` is null for the opening."""

    partition: int
    position: int
    payment_id: int | None
    at: Timestamp
    amount: Decimal
    balance_after: Decimal

    EXAMPLE: ClassVar[object] = {
        "partition": 0,
        "position": 5,
        "payment_id": 1,
        "at": "2026-11-23T09:30:00.000000Z",
        "amount": 196.0,
        "balance_after": 1196.0,
    }


class StatementView(Struct, frozen=True, kw_only=True):
    """A page of a statement, oldest first, with the balances before and after its whole range.

    `position` is that of the log as of which the statement speaks, on all its pages; with `to`, that of the last entry
    before it.
    """

    opening_balance: Decimal
    closing_balance: Decimal
    currency: str
    partition: int
    position: int
    items: list[StatementItem]
    next_cursor: str | None

    EXAMPLE: ClassVar[object] = {
        "opening_balance": 1000.0,
        "closing_balance": 1196.0,
        "currency": "USD",
        "partition": 0,
        "position": 120,
        "items": [StatementItem.EXAMPLE],
        "next_cursor": None,
    }


def opened_view(opening: AccountOpening) -> UserView:
    """Make the answer to the opening of a user. A replay gets the same answer."""
    balance = decimal(opening.opening_minor, opening.currency)
    return UserView(
        id=opening.account_id,
        balance=balance,
        available=balance,
        held=decimal(0, opening.currency),
        currency=opening.currency,
    )


def user_view(account: AccountRow, *, partition: int) -> UserAtView:
    """Make the answer about a user's balance now."""
    currency = account.currency
    return UserAtView(
        id=account.account_id,
        balance=decimal(account.posted_minor, currency),
        available=decimal(account.posted_minor - account.held_minor, currency),
        held=decimal(account.held_minor, currency),
        currency=currency,
        partition=partition,
        position=account.position,
    )


def balance_view(found: AccountAt, *, partition: int) -> BalanceView:
    """Make the answer about a user's balance at an earlier position."""
    account = found.account
    return BalanceView(
        balance=decimal(account.posted_minor, account.currency),
        held=decimal(account.held_minor, account.currency),
        available=decimal(account.available_minor, account.currency),
        currency=account.currency,
        partition=partition,
        position=found.position,
        at=timestamp(found.at),
    )


def statement_view(statement: Statement, *, partition: int) -> StatementView:
    """Make the answer with a page of a statement."""
    currency = statement.currency
    return StatementView(
        opening_balance=decimal(statement.opening_minor, currency),
        closing_balance=decimal(statement.closing_minor, currency),
        currency=currency,
        partition=partition,
        position=statement.position,
        items=[_statement_item(entry, currency, partition) for entry in statement.entries],
        next_cursor=statement.next_cursor,
    )


def _statement_item(entry: StatementEntry, currency: str, partition: int) -> StatementItem:
    return StatementItem(
        partition=partition,
        position=entry.position,
        payment_id=entry.payment_id,
        at=timestamp(entry.at),
        amount=decimal(entry.amount_minor, currency),
        balance_after=decimal(entry.balance_after_minor, currency),
    )
