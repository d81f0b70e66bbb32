"""The read model of accounts: the money that a user owns, and the part of it that is held for pending withdrawals.

The versions of an account's events must follow one another here as they do in its stream; if they do not, this table
and the log are no longer about the same thing, and the account's stream is set aside.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import datetime
from typing import Final, assert_never

from msgspec import Struct

from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    HoldReleased,
    Recorded,
)
from ledger.store.statements import load_statements
from projections.contract.columns import columns
from projections.contract.event_kinds import account_of, is_of_account
from projections.contract.log_page import Connection, Placed
from projections.contract.read_model import Lookup, ReadModel, Table
from projections.contract.table_names import aimed
from projections.errors import EventNotApplicable

SQL: Final = load_statements("projections.models", "account_balance.sql")


class AccountBalance(Struct):
    """A row of the table, column by column."""

    account_id: int
    currency: str
    posted_minor: int
    held_minor: int
    version: int
    opened_at: datetime
    updated_at: datetime
    position: int


def accounts_in(events: Iterable[Placed]) -> set[int]:
    """The accounts whose rows a page changes."""
    return {account_of(recorded) for _, recorded in events if is_of_account(recorded.data)}


def fold(events: Iterable[Placed], known: Mapping[int, AccountBalance]) -> dict[int, AccountBalance]:
    """Give the rows that a page makes or changes, from the rows of its accounts as they were before it.

    Raises EventNotApplicable for an event that is not the next one of its account.
    """
    rows: dict[int, AccountBalance] = {}
    for position, recorded in events:
        event = recorded.data
        if is_of_account(event):
            account_id = account_of(recorded)
            row = rows.get(account_id)
            if row is None and account_id in known:
                row = copy(known[account_id])
            rows[account_id] = _step(row, position, account_id, recorded, event)
    return rows


def _step(
    row: AccountBalance | None, position: int, account_id: int, recorded: Recorded[AnyEvent], event: AccountEvent
) -> AccountBalance:
    """Apply one event to a row, in place; the opening makes it out of nothing."""
    version_before = 0 if row is None else row.version
    if recorded.originator_version != version_before + 1:
        what = f"version {recorded.originator_version} of account {account_id} follows version {version_before}"
        raise EventNotApplicable(position=position, what=what)
    if isinstance(event, AccountOpened):
        return AccountBalance(
            account_id=account_id,
            currency=event.currency,
            posted_minor=event.opening_minor,
            held_minor=0,
            version=recorded.originator_version,
            opened_at=recorded.at,
            updated_at=recorded.at,
            position=position,
        )
    if row is None:
        raise EventNotApplicable(position=position, what=f"account {account_id} was never opened")
    assert position > row.position, (position, row.position)
    row.version, row.updated_at, row.position = recorded.originator_version, recorded.at, position
    match event:
        case FundsHeld():
            row.held_minor += event.amount_minor
        case HoldReleased():
            row.held_minor -= event.amount_minor
        case AccountCredited():
            row.posted_minor += event.net_minor
        case AccountDebited():
            row.posted_minor -= event.total_minor
            row.held_minor -= event.held_minor
        case AccountAdjusted():
            row.posted_minor += event.amount_minor if event.direction == "in" else -event.amount_minor
        case never:
            assert_never(never)
    return row


def store(connection: Connection, rows: Mapping[int, AccountBalance], suffix: str) -> None:
    """Send rows to be written, new and changed ones alike."""
    if rows:
        connection.execute(aimed(SQL["store_accounts"], suffix), columns(AccountBalance, rows.values()), prepare=True)


ACCOUNTS: Final = Lookup(ids_in=accounts_in, statement=SQL["read_accounts"], row_type=AccountBalance)
"""The rows of the accounts that a page is about."""

MODEL: Final = ReadModel(
    name="account_balance",
    tables=(Table(name="account_balance", key=("account_id",), columns=AccountBalance.__struct_fields__),),
    reads=(ACCOUNTS,),
    fold=fold,
    store=store,
)
