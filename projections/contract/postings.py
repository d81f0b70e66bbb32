"""The books by double entry: which accounts an event posts to, on which side and how much.

    customer            liability  the money of a user; one for each account, by its id
    gateway_clearing    asset      the debt of a gateway for payments that it moved; one for each gateway, by name
    fee_revenue         revenue    the fees of payments
    opening_equity      equity     the money that users had before the ledger began
    suspense            either     money whose owner is not known yet
    transit             either     money that has left one account and has not reached the other

An event that moves money makes one entry, whose debits equal its credits in each currency. All amounts are positive,
and the direction is their side. A liability grows by a credit, so money that a user gets is a credit.
"""

from typing import Final, Literal, assert_never

from msgspec import Struct

from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    FundsHeld,
    HoldReleased,
    PaymentAdjusted,
)

ChartAccount = Literal["customer", "gateway_clearing", "fee_revenue", "opening_equity", "suspense", "transit"]
"""The chart of accounts, by name."""

Side = Literal["debit", "credit"]

DEFAULT_GATEWAY: Final = "default"
"""The name of the gateway if there is only one."""


class Posting(Struct, frozen=True, gc=False):
    """An amount on one side of one account of the books.

    `account_id` is the account of a `customer`, `gateway` the gateway of a `gateway_clearing`; both are null for every
    other account. `amount_minor` is above zero, except that a customer's may be zero, so that an opening of 0.00 and a
    deposit whose fee equals its amount appear in the statement.
    """

    account: ChartAccount
    direction: Side
    amount_minor: int
    currency: str
    account_id: int | None = None
    gateway: str | None = None

    @property
    def owned_minor(self) -> int:
        """The change that the posting makes to the customer's balance, if the account is a customer."""
        return self.amount_minor if self.direction == "credit" else -self.amount_minor


def postings(event: AccountEvent | PaymentAdjusted, *, account_id: int = 0) -> list[Posting]:
    """Return the postings of an account's event. Empty when it moves no money.

    A settled payment posts by the rule of its kind.
    """
    match event:
        case AccountCredited(currency=currency):
            return [
                Posting("customer", "credit", event.net_minor, currency, account_id),
                Posting("gateway_clearing", "debit", event.gross_minor, currency, None, DEFAULT_GATEWAY),
                *_fee(event.fee_minor, currency),
            ]
        case AccountDebited(currency=currency):
            return [
                Posting("customer", "debit", event.total_minor, currency, account_id),
                Posting("gateway_clearing", "credit", event.gross_minor, currency, None, DEFAULT_GATEWAY),
                *_fee(event.fee_minor, currency),
            ]
        case AccountAdjusted(currency=currency, amount_minor=amount_minor):
            return _adjusted("customer", event.direction, amount_minor, currency, account_id)
        case PaymentAdjusted(against="suspense", currency=currency, amount_minor=amount_minor):
            return _adjusted("suspense", event.direction, amount_minor, currency)
        case FundsHeld() | HoldReleased() | PaymentAdjusted():
            return []
        case AccountOpened(currency=currency, opening_minor=opening_minor):
            opening = [Posting("customer", "credit", opening_minor, currency, account_id)]
            return [*opening, Posting("opening_equity", "debit", opening_minor, currency)] if opening_minor else opening
        case never:
            assert_never(never)


def _adjusted(
    account: ChartAccount, moved: Literal["in", "out"], amount_minor: int, currency: str, account_id: int | None = None
) -> list[Posting]:
    """Post money that a gateway took in, and so owes us, or paid out, against another account."""
    ours: Side = "debit" if moved == "in" else "credit"
    other: Side = "credit" if moved == "in" else "debit"
    return [
        Posting(account, other, amount_minor, currency, account_id),
        Posting("gateway_clearing", ours, amount_minor, currency, None, DEFAULT_GATEWAY),
    ]


def _fee(amount_minor: int, currency: str) -> list[Posting]:
    return [Posting("fee_revenue", "credit", amount_minor, currency)] if amount_minor else []
