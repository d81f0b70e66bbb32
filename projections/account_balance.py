"""The read model of accounts: what a user owns, and what of it is set aside for withdrawals on their way.

The versions of an account's events must follow one another here as they do in its stream; if they do not, this table
and the log are no longer about the same thing, and the projector stops.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.events import (
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    HoldReleased,
    Recorded,
)
from ledger.identifiers import stream_id
from ledger.sql import load_statements
from projections.errors import EventNotApplicable
from projections.page import Placed
from projections.tables import aimed, columns

SQL: Final = load_statements("projections", "account_balance.sql")


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
    return {stream_id(recorded.originator_id) for _, recorded in events if isinstance(recorded.data, AccountEvent)}


def fold(events: Iterable[Placed], known: Mapping[int, AccountBalance]) -> dict[int, AccountBalance]:
    """Give the rows that a page makes or changes, from the rows of its accounts as they were before it.

    Raises EventNotApplicable for an event that is not the next one of its account.
    """
    rows: dict[int, AccountBalance] = {}
    for position, recorded in events:
        event = recorded.data
        if isinstance(event, AccountEvent):
            account_id = stream_id(recorded.originator_id)
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
    return row


def ask(connection: psycopg.Connection[Any], account_ids: Iterable[int], suffix: str) -> psycopg.Cursor[Any]:
    """Ask for the rows of accounts; `known` reads the answer."""
    parameters = {"account_id": sorted(account_ids)}
    return connection.execute(aimed(SQL["read_accounts"], suffix), parameters, prepare=True, binary=True)


def known(answer: psycopg.Cursor[Any]) -> dict[int, AccountBalance]:
    """Read the answer of `ask`."""
    return {row[0]: AccountBalance(*row) for row in answer}


def store(connection: psycopg.Connection[Any], rows: Sequence[AccountBalance], suffix: str) -> None:
    """Send rows to be written, new and changed ones alike."""
    if rows:
        connection.execute(aimed(SQL["store_accounts"], suffix), columns(AccountBalance, rows), prepare=True)
