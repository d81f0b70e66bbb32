"""The read model of the books: one balanced entry for each opening, settled deposit and settled withdrawal.

Debits are positive, credits negative, and an entry's four postings sum to zero. A user's money is a liability, so that
what he gets is a credit. The balance after each entry goes on from the account's row as it was before the page.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.events import AccountCredited, AccountDebited, AccountOpened
from ledger.identifiers import stream_id
from ledger.sql import load_statements
from projections.account_balance import AccountBalance
from projections.page import Placed
from projections.tables import aimed, columns

SQL: Final = load_statements("projections", "journal.sql")


class Entry(Struct):
    """A row of the table, column by column."""

    position: int
    account_id: int
    payment_id: int | None
    currency: str
    customer_minor: int
    gateway_clearing_minor: int
    fee_revenue_minor: int
    opening_equity_minor: int
    balance_after_minor: int
    at: datetime


def fold(events: Iterable[Placed], accounts: Mapping[int, AccountBalance]) -> list[Entry]:
    """Give the entries of a page; `accounts` are the rows of its accounts as they were before it."""
    balances_minor: dict[int, int] = {}
    entries: list[Entry] = []
    for position, recorded in events:
        event = recorded.data
        if not isinstance(event, AccountOpened | AccountCredited | AccountDebited):
            continue
        account_id = stream_id(recorded.originator_id)
        postings = _postings(event)
        before_minor = balances_minor.get(account_id)
        if before_minor is None:
            before_minor = accounts[account_id].posted_minor if account_id in accounts else 0
        customer_minor, gateway_clearing_minor, fee_revenue_minor, opening_equity_minor = postings
        balances_minor[account_id] = before_minor - customer_minor
        entries.append(
            Entry(
                position=position,
                account_id=account_id,
                payment_id=None if isinstance(event, AccountOpened) else event.payment_id,
                currency=event.currency,
                customer_minor=customer_minor,
                gateway_clearing_minor=gateway_clearing_minor,
                fee_revenue_minor=fee_revenue_minor,
                opening_equity_minor=opening_equity_minor,
                balance_after_minor=balances_minor[account_id],
                at=recorded.at,
            )
        )
    return entries


def _postings(event: AccountOpened | AccountCredited | AccountDebited) -> tuple[int, int, int, int]:
    """What an event posts to the customer, gateway clearing, fee revenue and opening equity."""
    match event:
        case AccountOpened(opening_minor=opening_minor):
            return -opening_minor, 0, 0, opening_minor
        case AccountCredited(gross_minor=gross_minor, fee_minor=fee_minor, net_minor=net_minor):
            return -net_minor, gross_minor, -fee_minor, 0
        case AccountDebited(gross_minor=gross_minor, fee_minor=fee_minor, total_minor=total_minor):
            return total_minor, -gross_minor, -fee_minor, 0


def store(connection: psycopg.Connection[Any], entries: Sequence[Entry], suffix: str) -> None:
    """Send entries to be added."""
    if entries:
        connection.execute(aimed(SQL["store_entries"], suffix), columns(Entry, entries), prepare=True)
