"""Which read models move together, and in which order a page is applied to them.

The models of a group share a tracking row, stop together and always agree with each other. What a fold needs of the
rows before the page is read first, for all models at once; then all of them are written, in one round trip.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct

from projections import account_balance, counters, dead_letter, journal, payment_status
from projections.page import Placed

Connection = psycopg.Connection[Any]


class Group(Struct, frozen=True):
    """Read models with one tracking row, and how a page is applied to them.

    `apply` takes the connection, which is in a transaction, the events that follow the group's position, and the suffix
    of the tables (see `projections.tables`). It raises EventNotApplicable, or what the database says.
    """

    name: str
    tables: tuple[str, ...]
    apply: Callable[[Connection, Sequence[Placed], str], None]


def apply_read_models(connection: Connection, events: Sequence[Placed], suffix: str) -> None:
    """Apply a page to what tells of payments and of money."""
    with connection.pipeline():
        asked_payments = payment_status.ask(connection, payment_status.payments_in(events), suffix)
        asked_accounts = account_balance.ask(connection, account_balance.accounts_in(events), suffix)
    payments = payment_status.known(asked_payments)
    accounts = account_balance.known(asked_accounts)
    with connection.pipeline():
        payment_status.store(connection, list(payment_status.fold(events, payments).values()), suffix)
        dead_letter.store(connection, dead_letter.fold(events, payments), suffix)
        account_balance.store(connection, list(account_balance.fold(events, accounts).values()), suffix)
        journal.store(connection, journal.fold(events, accounts), suffix)


def apply_counters(connection: Connection, events: Sequence[Placed], suffix: str) -> None:
    """Apply a page to the counters."""
    counters.store(connection, counters.fold(events), suffix)


GROUPS: Final = (
    Group("read_models", ("payment_status", "account_balance", "journal", "dead_letter"), apply_read_models),
    Group("counters", ("counters",), apply_counters),
)
