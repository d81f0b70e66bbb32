"""The trial balance: the journal's sums by currency, and beside them what the accounts hold.

All postings of a currency together are zero, and what the journal says that customers own is what their accounts hold.
Both tables move in the same transactions, so one statement sees them agree or finds out that they do not.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from ledger.sql import load_statements

SQL: Final = load_statements("projections", "trial_balance.sql")


class CurrencySums(Struct, frozen=True):
    """The sums of one currency in minor units; of the journal debits are above zero, credits below.

    `position` is that of the journal's last entry, `accounts_minor` the sum of what the accounts hold.
    """

    currency: str
    entries: int
    customers_minor: int
    gateway_clearing_minor: int
    fee_revenue_minor: int
    opening_equity_minor: int
    position: int
    accounts_minor: int

    @property
    def sum_minor(self) -> int:
        """The sum of all postings."""
        journal = self.customers_minor + self.gateway_clearing_minor
        return journal + self.fee_revenue_minor + self.opening_equity_minor

    @property
    def balanced(self) -> bool:
        """Whether all is as it has to be: what customers own is a liability, and so a credit."""
        return self.sum_minor == 0 and self.customers_minor + self.accounts_minor == 0


def currency_sums(rows: Iterable[Sequence[Any]]) -> list[CurrencySums]:
    """Read the rows of `sum_up`."""
    return [CurrencySums(row[0], *(_whole(each) for each in row[1:])) for row in rows]


def _whole(sum_minor: Decimal | int) -> int:
    return int(sum_minor)
