"""Balances of accounts after withdrawals, and events that no account can have."""

import pytest
from msgspec.structs import replace

from projections.errors import EventNotApplicable
from projections.models import account_balance
from tests.projections.models.tables import tables_of
from tests.support.histories import FAILED, History, go


def test_a_withdrawal_whose_hold_is_gone_uses_none_up() -> None:
    """Its failure released the hold. The later success takes available money, and no other hold."""
    history = History()
    account_id = history.open()
    payment_id, other = history.withdraw(account_id), history.withdraw(account_id, "70")
    go(history, payment_id, [*FAILED, ("late", 1, 1), ("resolve", "success")])

    row = tables_of(history.events).accounts[account_id]

    assert other != payment_id
    assert (row.posted_minor, row.held_minor) == (100_000 - 5_100, 7_140)


def test_versions_of_an_account_follow_one_another() -> None:
    """An event is refused when the one before it is not in the row, or when it is itself already."""
    history = History()
    history.withdraw(history.open())
    rows = account_balance.fold(history.events, {})

    with pytest.raises(EventNotApplicable, match="version 2 of account 1 follows version 0"):
        account_balance.fold(history.events[1:], {})
    with pytest.raises(EventNotApplicable, match="version 1 of account 1 follows version 2"):
        account_balance.fold(history.events, rows)


def test_the_first_event_of_an_account_is_its_opening() -> None:
    """An account that was not opened cannot hold money, with any version."""
    history = History()
    history.withdraw(history.open())
    position, held = history.events[2]

    with pytest.raises(EventNotApplicable, match="account 1 was never opened"):
        account_balance.fold([(position, replace(held, originator_version=1))], {})
