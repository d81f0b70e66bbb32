"""The trial balance as clients and operators see it: the books of each currency, and whether they balance."""

from decimal import Decimal
from typing import ClassVar, Final

from msgspec import Struct

from api.amounts import decimal
from api.reads import Connection, Reads
from ledger.sql import load_statements
from projections.trial_balance import SQL as SUMS
from projections.trial_balance import CurrencySums, currency_sums

SQL: Final = load_statements("api", "trial_balance.sql")


class CurrencyBalance(Struct, frozen=True, kw_only=True):
    """The sums of the journal's columns in one currency; debits are above zero, credits below, and `sum` is zero.

    `accounts` is what the accounts hold, by a table of its own: the customers' credits with the other sign.
    """

    currency: str
    entries: int
    customers: Decimal
    gateway_clearing: Decimal
    fee_revenue: Decimal
    opening_equity: Decimal
    sum: Decimal
    accounts: Decimal

    EXAMPLE: ClassVar[object] = {
        "currency": "USD",
        "entries": 2,
        "customers": -1196.0,
        "gateway_clearing": 200.0,
        "fee_revenue": -4.0,
        "opening_equity": 1000.0,
        "sum": 0.0,
        "accounts": 1196.0,
    }


class TrialBalanceView(Struct, frozen=True, kw_only=True):
    """The books up to the journal's last entry, at `position`."""

    balanced: bool
    position: int
    currencies: list[CurrencyBalance]

    EXAMPLE: ClassVar[object] = {"balanced": True, "position": 120, "currencies": [CurrencyBalance.EXAMPLE]}


async def read_trial_balance(reads: Reads) -> TrialBalanceView:
    """Sum up the books. Raises DatabaseUnavailable."""
    sums = await reads.read(_sum_up)
    return TrialBalanceView(
        balanced=all(each.balanced for each in sums),
        position=max((each.position for each in sums), default=0),
        currencies=[_currency_balance(each) for each in sums],
    )


async def _sum_up(connection: Connection) -> list[CurrencySums]:
    async with connection.transaction():
        await connection.execute(SQL["allow_scan"])
        return currency_sums(await (await connection.execute(SUMS["sum_up"])).fetchall())


def _currency_balance(sums: CurrencySums) -> CurrencyBalance:
    return CurrencyBalance(
        currency=sums.currency,
        entries=sums.entries,
        customers=decimal(sums.customers_minor, sums.currency),
        gateway_clearing=decimal(sums.gateway_clearing_minor, sums.currency),
        fee_revenue=decimal(sums.fee_revenue_minor, sums.currency),
        opening_equity=decimal(sums.opening_equity_minor, sums.currency),
        sum=decimal(sums.sum_minor, sums.currency),
        accounts=decimal(sums.accounts_minor, sums.currency),
    )
