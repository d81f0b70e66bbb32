"""An account: what a user owns, what of it is set aside, and the rules about both.

The account is folded from its events by `evolve`, which applies and never refuses. The functions above it decide: each
takes the account and a wish, and returns the event that grants it or raises the refusal. Deposits on their way are no
events of the account; the writer knows their sum (`pending_minor`) and passes it to `ensure_room`.
"""

from datetime import datetime
from typing import assert_never

import msgspec
from msgspec import Struct

from ledger.errors import BalanceLimitExceeded, InsufficientFunds
from ledger.events import (
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    FundsHeld,
    HoldReleased,
    Recorded,
)
from ledger.identifiers import account_stream
from ledger.money import BALANCE_MINOR_MAX


class Account(Struct, frozen=True, kw_only=True):
    """An account as its events have left it.

    Of `posted_minor`, `held_minor` is set aside for withdrawals on their way. `version` counts its events.
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
        """What a withdrawal may use."""
        return self.posted_minor - self.held_minor


def hold(account: Account, *, payment_id: int, amount_minor: int) -> FundsHeld:
    """Set money aside for a withdrawal.

    Raises InsufficientFunds when less than amount_minor is available.
    """
    if amount_minor > account.available_minor:
        raise InsufficientFunds(available_minor=account.available_minor, needed_minor=amount_minor)
    return FundsHeld(payment_id=payment_id, currency=account.currency, amount_minor=amount_minor)


def release(account: Account, *, payment_id: int, amount_minor: int) -> HoldReleased:
    """Make money available again that had been set aside."""
    return HoldReleased(payment_id=payment_id, currency=account.currency, amount_minor=amount_minor)


def ensure_room(account: Account, *, pending_minor: int, incoming_minor: int) -> None:
    """Check that the account could take a deposit on top of all that are on their way.

    Raises BalanceLimitExceeded when it could come to hold more than BALANCE_MINOR_MAX.
    """
    if account.posted_minor + pending_minor + incoming_minor > BALANCE_MINOR_MAX:
        raise BalanceLimitExceeded(account_id=account.account_id, limit_minor=BALANCE_MINOR_MAX)


def credit(account: Account, *, payment_id: int, gross_minor: int, fee_minor: int) -> AccountCredited:
    """Settle a deposit. The gateway has moved the money, so there is nothing left to refuse."""
    return AccountCredited(
        payment_id=payment_id,
        currency=account.currency,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        net_minor=gross_minor - fee_minor,
    )


def debit(account: Account, *, payment_id: int, gross_minor: int, fee_minor: int, held: bool) -> AccountDebited:
    """Settle a withdrawal, from its hold or, when that is gone, from what is available.

    Raises InsufficientFunds when there is no hold and the available money does not cover amount and fee.
    """
    total_minor = gross_minor + fee_minor
    if not held and total_minor > account.available_minor:
        raise InsufficientFunds(available_minor=account.available_minor, needed_minor=total_minor)
    return AccountDebited(
        payment_id=payment_id,
        currency=account.currency,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        total_minor=total_minor,
        held_minor=total_minor if held else 0,
    )


def evolve(account: Account | None, recorded: Recorded[AccountEvent]) -> Account:
    """Apply one event to an account; the first one, and only that, makes it out of nothing."""
    version, event = recorded.originator_version, recorded.data
    if isinstance(event, AccountOpened):
        return Account(
            account_id=int(recorded.originator_id.removeprefix("account-")),
            version=version,
            currency=event.currency,
            posted_minor=event.opening_minor,
            held_minor=0,
            opened_at=recorded.at,
            opening_minor=event.opening_minor,
        )
    assert account is not None, recorded
    posted_minor, held_minor = account.posted_minor, account.held_minor
    match event:
        case FundsHeld():
            held_minor += event.amount_minor
        case HoldReleased():
            held_minor -= event.amount_minor
        case AccountCredited():
            posted_minor += event.net_minor
        case AccountDebited():
            posted_minor -= event.total_minor
            held_minor -= event.held_minor
        case never:
            assert_never(never)
    return msgspec.structs.replace(account, version=version, posted_minor=posted_minor, held_minor=held_minor)
