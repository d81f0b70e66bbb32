"""An account: the money of a user, the part of it that is held for withdrawals, and the rules about both.

The account is folded from its events by `evolve`. The functions here decide: each takes the account and a wish, and
returns the event that grants it or raises the refusal. A pending deposit is not an event of the account; the writer
has their sum (`pending_minor`) and passes it to `ensure_balance_limit`.
"""

from datetime import datetime

from msgspec import Struct

from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    FundsHeld,
    HoldReleased,
)
from ledger.domain.identifiers import account_stream
from ledger.domain.kinds import Direction
from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.errors import BalanceLimitExceeded, InsufficientFunds


class Account(Struct, frozen=True, kw_only=True):
    """An account as its events have left it.

    `held_minor` is the part of `posted_minor` that pending withdrawals hold. `version` counts its events.
    """

    account_id: int
    version: int
    currency: str
    posted_minor: int
    held_minor: int
    opened_at: datetime
    opening_minor: int

    @property
    def id(self) -> str:
        """The account's stream, by which `eventsourcing` knows it."""
        return account_stream(self.account_id)

    @property
    def available_minor(self) -> int:
        """The minor units that a withdrawal may use."""
        return self.posted_minor - self.held_minor


def hold(account: Account, *, payment_id: int, amount_minor: int) -> FundsHeld:
    """Set money aside for a withdrawal.

    Raises InsufficientFunds when less than amount_minor is available.
    """
    assert amount_minor >= 0, "a negative hold would make money available"
    if amount_minor > account.available_minor:
        raise InsufficientFunds(
            currency=account.currency, available_minor=account.available_minor, needed_minor=amount_minor
        )
    return FundsHeld(payment_id=payment_id, currency=account.currency, amount_minor=amount_minor)


def release(account: Account, *, payment_id: int, amount_minor: int) -> HoldReleased:
    """Release a hold, so that its money is available again."""
    assert 0 <= amount_minor <= account.held_minor, (account, payment_id, amount_minor)
    return HoldReleased(payment_id=payment_id, currency=account.currency, amount_minor=amount_minor)


def ensure_balance_limit(account: Account, *, pending_minor: int, incoming_minor: int) -> None:
    """Check that the account could take a deposit on top of all pending ones.

    Raises BalanceLimitExceeded when its balance could exceed BALANCE_MINOR_MAX.
    """
    assert pending_minor >= 0, (account, pending_minor)
    assert incoming_minor >= 0, (account, incoming_minor)
    if account.posted_minor + pending_minor + incoming_minor > BALANCE_MINOR_MAX:
        raise BalanceLimitExceeded(account_id=account.account_id, limit_minor=BALANCE_MINOR_MAX)


def adjust(account: Account, *, payment_id: int, direction: Direction, amount_minor: int) -> AccountAdjusted:
    """Credit or debit the user for money that moved beside a payment's end.

    Raises InsufficientFunds when less than amount_minor is available.
    """
    assert amount_minor > 0, (payment_id, amount_minor)
    if direction == "out" and amount_minor > account.available_minor:
        raise InsufficientFunds(
            currency=account.currency, available_minor=account.available_minor, needed_minor=amount_minor
        )
    return AccountAdjusted(
        payment_id=payment_id, currency=account.currency, direction=direction, amount_minor=amount_minor
    )


def credit(account: Account, *, payment_id: int, gross_minor: int, fee_minor: int) -> AccountCredited:
    """Settle a deposit. The gateway has moved the money, so there is nothing left to refuse."""
    assert 0 <= fee_minor <= gross_minor, (payment_id, gross_minor, fee_minor)
    return AccountCredited(
        payment_id=payment_id,
        currency=account.currency,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        net_minor=gross_minor - fee_minor,
    )


def debit(account: Account, *, payment_id: int, gross_minor: int, fee_minor: int, held: bool) -> AccountDebited:
    """Settle a withdrawal from its hold or, after that was released, from the available money.

    Raises InsufficientFunds when nothing is held and the available money does not cover amount and fee.
    """
    assert gross_minor >= 0, (payment_id, gross_minor)
    assert fee_minor >= 0, (payment_id, fee_minor)
    total_minor = gross_minor + fee_minor
    assert not held or total_minor <= account.held_minor, (account, payment_id, total_minor)
    if not held and total_minor > account.available_minor:
        raise InsufficientFunds(
            currency=account.currency, available_minor=account.available_minor, needed_minor=total_minor
        )
    return AccountDebited(
        payment_id=payment_id,
        currency=account.currency,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        total_minor=total_minor,
        held_minor=total_minor if held else 0,
    )
