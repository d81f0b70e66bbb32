"""The read models in memory: what the projector does with a page, without a database."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from hypothesis import HealthCheck, settings
from msgspec import Struct, field

from projections.contract.log_page import Placed
from projections.models import account_balance, counters, dead_letter, journal, payment_end, payment_status
from projections.models.account_balance import AccountBalance
from projections.models.dead_letter import Letter
from projections.models.journal import EntryRow, PostingRow
from projections.models.payment_status import PaymentStatus

unhurried: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long an example takes says more about what else the machine does."""


class Tables(Struct):
    """The read models in memory, and how a page is applied to them."""

    payments: dict[int, PaymentStatus] = {}
    accounts: dict[int, AccountBalance] = {}
    entries: list[EntryRow] = []
    postings: list[PostingRow] = []
    letters: dict[int, Letter] = {}
    counted: Counter[str] = field(default_factory=Counter)
    ends: Counter[payment_end.Key] = field(default_factory=Counter)

    def apply(self, events: Sequence[Placed]) -> None:
        """Fold a page as the projector does, and keep the rows as the statements do."""
        payments = {key: self.payments[key] for key in payment_status.payments_in(events) & self.payments.keys()}
        accounts = {key: self.accounts[key] for key in account_balance.accounts_in(events) & self.accounts.keys()}
        changes = dead_letter.fold(events, payments)
        self.letters.update((letter.payment_id, letter) for letter in changes.letters)
        for payment_id in changes.gone:
            self.letters.pop(payment_id, None)
        added = journal.fold(events, accounts)
        self.entries.extend(added.entries)
        self.postings.extend(added.postings)
        self.payments.update(payment_status.fold(events, payments))
        self.accounts.update(account_balance.fold(events, accounts))
        self.counted.update(counters.fold(events))
        self.ends.update(payment_end.fold(events))


def tables_of(*pages: Sequence[Placed]) -> Tables:
    """Apply pages to empty tables."""
    tables = Tables()
    for events in pages:
        tables.apply(events)
    return tables
