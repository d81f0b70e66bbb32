"""One account: what it grants, what it refuses, and what each event does to it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ledger.domain.account import Account, credit, debit, ensure_balance_limit, hold, release
from ledger.domain.events import (
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    FundsHeld,
    HoldReleased,
    Recorded,
)
from ledger.domain.evolve import evolve_account
from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.errors import BalanceLimitExceeded, InsufficientFunds

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def account(*, posted_minor: int = 1000, held_minor: int = 0) -> Account:
    """An account in dollars that was opened with 5.00."""
    return Account(
        account_id=7,
        version=3,
        currency="USD",
        posted_minor=posted_minor,
        held_minor=held_minor,
        opened_at=AT,
        opening_minor=500,
    )


def test_what_is_set_aside_is_not_available() -> None:
    """And the account is known by its stream."""
    assert account(posted_minor=1000, held_minor=300).available_minor == 700
    assert account().id == "account-7"


# --- deciding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("posted_minor", "held_minor", "amount_minor"), [(1000, 0, 1000), (1000, 400, 600), (1, 0, 1), (0, 0, 0)]
)
def test_all_that_is_available_can_be_set_aside(posted_minor: int, held_minor: int, amount_minor: int) -> None:
    """To the last minor unit."""
    event = hold(account(posted_minor=posted_minor, held_minor=held_minor), payment_id=9, amount_minor=amount_minor)

    assert event == FundsHeld(payment_id=9, currency="USD", amount_minor=amount_minor)


@pytest.mark.parametrize(
    ("posted_minor", "held_minor", "amount_minor", "available_minor"),
    [(1000, 0, 1001, 1000), (1000, 400, 601, 600), (1000, 1000, 1, 0), (0, 0, 1, 0)],
)
def test_more_than_is_available_cannot_be_set_aside(
    posted_minor: int, held_minor: int, amount_minor: int, available_minor: int
) -> None:
    """One minor unit too much is refused. The refusal has the available and the needed amount."""
    with pytest.raises(InsufficientFunds) as refused:
        hold(account(posted_minor=posted_minor, held_minor=held_minor), payment_id=9, amount_minor=amount_minor)

    assert refused.value.facts == {"currency": "USD", "available_minor": available_minor, "needed_minor": amount_minor}


def test_a_release_names_payment_currency_and_amount() -> None:
    """So that a reader of this one event needs no other."""
    assert release(account(held_minor=204), payment_id=9, amount_minor=204) == HoldReleased(
        payment_id=9, currency="USD", amount_minor=204
    )


@pytest.mark.parametrize(
    ("posted_minor", "pending_minor", "incoming_minor"),
    [
        (0, 0, BALANCE_MINOR_MAX),
        (BALANCE_MINOR_MAX, 0, 0),
        (BALANCE_MINOR_MAX - 3, 2, 1),
        (1, BALANCE_MINOR_MAX - 2, 1),
    ],
)
def test_an_account_may_be_filled_to_the_brim(posted_minor: int, pending_minor: int, incoming_minor: int) -> None:
    """Together with all that is on its way."""
    ensure_balance_limit(account(posted_minor=posted_minor), pending_minor=pending_minor, incoming_minor=incoming_minor)


@pytest.mark.parametrize(
    ("posted_minor", "pending_minor", "incoming_minor"),
    [
        (0, 0, BALANCE_MINOR_MAX + 1),
        (BALANCE_MINOR_MAX, 0, 1),
        (BALANCE_MINOR_MAX - 3, 2, 2),
        (1, BALANCE_MINOR_MAX - 1, 1),
    ],
)
def test_an_account_is_not_filled_beyond_it(posted_minor: int, pending_minor: int, incoming_minor: int) -> None:
    """One minor unit too much is refused. Held money counts, because it may be released."""
    full = account(posted_minor=posted_minor, held_minor=posted_minor)

    with pytest.raises(BalanceLimitExceeded) as refused:
        ensure_balance_limit(full, pending_minor=pending_minor, incoming_minor=incoming_minor)

    assert refused.value.facts == {"account_id": 7, "limit_minor": BALANCE_MINOR_MAX}


def test_a_credit_is_the_gross_amount_less_the_fee() -> None:
    """A deposit of 200.00 at 2 % credits 196.00."""
    assert credit(account(), payment_id=9, gross_minor=20_000, fee_minor=400) == AccountCredited(
        payment_id=9, currency="USD", gross_minor=20_000, fee_minor=400, net_minor=19_600
    )


def test_a_debit_is_the_gross_amount_and_the_fee_and_uses_the_hold_up() -> None:
    """A withdrawal of 2.00 at 2 % debits 2.04, all of it from its hold, also if more is available."""
    full_of_holds = account(posted_minor=204, held_minor=204)

    assert debit(full_of_holds, payment_id=9, gross_minor=200, fee_minor=4, held=True) == AccountDebited(
        payment_id=9, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=204
    )


def test_a_debit_without_its_hold_is_taken_from_what_is_available() -> None:
    """To the last minor unit, and it uses no hold up."""
    assert debit(account(posted_minor=304, held_minor=100), payment_id=9, gross_minor=200, fee_minor=4, held=False) == (
        AccountDebited(payment_id=9, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=0)
    )


def test_a_debit_without_its_hold_is_refused_where_it_is_not_covered() -> None:
    """The holds of other withdrawals are not used."""
    with pytest.raises(InsufficientFunds) as refused:
        debit(account(posted_minor=303, held_minor=100), payment_id=9, gross_minor=200, fee_minor=4, held=False)

    assert refused.value.facts == {"currency": "USD", "available_minor": 203, "needed_minor": 204}


# --- evolving --------------------------------------------------------------------------------------------------------


def recorded(event: AccountEvent, *, version: int = 4) -> Recorded[AccountEvent]:
    """An event of account 7."""
    return Recorded(
        originator_id="account-7", originator_version=version, at=AT, command_id="c", cause="test", data=event
    )


def test_an_account_begins_with_its_opening() -> None:
    """Out of nothing; all of it is posted and none of it held."""
    opened = evolve_account(None, recorded(AccountOpened(currency="KWD", opening_minor=12_345), version=1))

    assert opened == Account(
        account_id=7,
        version=1,
        currency="KWD",
        posted_minor=12_345,
        held_minor=0,
        opened_at=AT,
        opening_minor=12_345,
    )


@pytest.mark.parametrize(
    ("event", "posted_minor", "held_minor"),
    [
        (FundsHeld(payment_id=9, currency="USD", amount_minor=204), 1000, 504),
        (HoldReleased(payment_id=9, currency="USD", amount_minor=204), 1000, 96),
        (AccountCredited(payment_id=9, currency="USD", gross_minor=200, fee_minor=4, net_minor=196), 1196, 300),
        (
            AccountDebited(payment_id=9, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=204),
            796,
            96,
        ),
        (
            AccountDebited(payment_id=9, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=0),
            796,
            300,
        ),
    ],
)
def test_each_event_moves_what_it_says_and_nothing_else(
    event: AccountEvent, posted_minor: int, held_minor: int
) -> None:
    """From 10.00 posted, 3.00 of it held; version, currency and opening stand."""
    before = account(posted_minor=1000, held_minor=300)

    after = evolve_account(before, recorded(event))

    assert (posted_minor, held_minor) == (after.posted_minor, after.held_minor)
    assert after.version == 4
    assert (after.account_id, after.currency, after.opened_at, after.opening_minor) == (7, "USD", AT, 500)
    assert before == account(posted_minor=1000, held_minor=300)


def test_evolving_refuses_nothing() -> None:
    """A rule tightened tomorrow must not make yesterday's events unreadable, so none is checked here."""
    events: Sequence[AccountEvent] = [
        FundsHeld(payment_id=9, currency="EUR", amount_minor=10**18),
        HoldReleased(payment_id=8, currency="USD", amount_minor=1),
        AccountCredited(payment_id=9, currency="USD", gross_minor=1, fee_minor=2, net_minor=-1),
    ]

    evolved = account(posted_minor=0)
    for event in events:
        evolved = evolve_account(evolved, recorded(event, version=evolved.version + 1))

    assert (evolved.posted_minor, evolved.held_minor) == (-1, 10**18 - 1)


def test_only_an_opening_makes_an_account() -> None:
    """Any other event without an account is a mistake of ours, and no account is made up for it."""
    with pytest.raises(AssertionError):
        evolve_account(None, recorded(FundsHeld(payment_id=9, currency="USD", amount_minor=1)))
