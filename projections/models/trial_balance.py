"""The trial balance: the sums of the accounts of the books by currency, and beside them what the users' accounts hold.

The debits of a currency are its credits and those that its entries have counted, and what the books say that customers
own is what their accounts hold. All of these tables move in the same transactions, so one statement sees them agree or
finds out that they do not.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import Struct

from ledger.store.statements import load_statements

SQL: Final = load_statements("projections.models", "trial_balance.sql")


class CurrencySums(Struct, frozen=True, kw_only=True):
    """The sums of one currency in minor units; of an account's sum debits are above zero, credits below.

    `position` is that of the journal's last entry, `entered_minor` the sum of the debits that its entries state,
    `debit_minor` and `credit_minor` the sums of all postings. `gateways_minor` has the clearing of each gateway by its
    name, and `accounts_minor` is the sum of what the users' accounts hold.
    """

    currency: str
    entries: int
    position: int
    entered_minor: int
    debit_minor: int
    credit_minor: int
    customers_minor: int
    gateways_minor: Mapping[str, int]
    fee_revenue_minor: int
    opening_equity_minor: int
    suspense_minor: int
    transit_minor: int
    accounts_minor: int

    @property
    def gateway_clearing_minor(self) -> int:
        """The sum that all gateways owe us."""
        return sum(self.gateways_minor.values())

    @property
    def sum_minor(self) -> int:
        """The sum of all postings."""
        return self.debit_minor - self.credit_minor

    @property
    def balanced(self) -> bool:
        """Whether the books balance: the customers' money is a liability, and so a credit."""
        return (
            self.sum_minor == 0
            and self.entered_minor == self.debit_minor
            and self.customers_minor + self.accounts_minor == 0
        )


def currency_sums(rows: Iterable[Sequence[Any]]) -> list[CurrencySums]:
    """Read the rows of `sum_up`, whose columns are the fields of the sums."""
    return [_read(dict(zip(CurrencySums.__struct_fields__, row, strict=True))) for row in rows]


def add_up_sums(partitions: Iterable[Sequence[CurrencySums]]) -> list[CurrencySums]:
    """Add up the sums of all partitions by currency; `position` is the highest of them."""
    together: dict[str, CurrencySums] = {}
    for sums in chain.from_iterable(partitions):
        before = together.get(sums.currency)
        together[sums.currency] = sums if before is None else _sum(before, sums)
    return [together[currency] for currency in sorted(together)]


def _sum(one: CurrencySums, other: CurrencySums) -> CurrencySums:
    gateways = one.gateways_minor.keys() | other.gateways_minor.keys()
    added = {
        name: getattr(one, name) + getattr(other, name)
        for name in CurrencySums.__struct_fields__
        if name not in {"currency", "position", "gateways_minor"}
    }
    return CurrencySums(
        currency=one.currency,
        position=max(one.position, other.position),
        gateways_minor={
            name: one.gateways_minor.get(name, 0) + other.gateways_minor.get(name, 0) for name in sorted(gateways)
        },
        **added,
    )


def _read(row: dict[str, Any]) -> CurrencySums:
    """Make whole numbers of the sums, which the database gives as `numeric`."""
    gateways = {name: int(minor) for name, minor in row.pop("gateways_minor").items()}
    whole = {name: int(value) for name, value in row.items() if name != "currency"}
    return CurrencySums(currency=row["currency"], gateways_minor=gateways, **whole)
