"""The trial balance: the sums of the journal in each currency, and whether they balance."""

from decimal import Decimal
from typing import ClassVar, Final

from msgspec import Struct

from api.http.amounts import decimal
from api.http.deadlines import READ_SECONDS_MAX
from api.queries.pool import Connection, ReadPool
from ledger.store.statements import load_statements
from projections.models.trial_balance import SQL as SUMS
from projections.models.trial_balance import CurrencySums, currency_sums

SQL: Final = load_statements("api.views", "trial_balance.sql")

SUM_SECONDS_MAX: Final = READ_SECONDS_MAX - 1.0
"""How long the server may sum up for a request. It gives up by itself before the request's time is over."""


class CurrencyBalance(Struct, frozen=True, kw_only=True):
    """The sums of the books' accounts in one currency. Debits are positive, credits negative, and `sum` must be zero.

    `gateways` has the part of `gateway_clearing` that each gateway owes. `suspense` is money whose owner is not known
    yet, `transit` is money between two accounts. `accounts` is the sum of the account balances, from another table. It
    must equal `customers` with the other sign.
    """

    currency: str
    entries: int
    customers: Decimal
    gateway_clearing: Decimal
    gateways: dict[str, Decimal]
    fee_revenue: Decimal
    opening_equity: Decimal
    suspense: Decimal
    transit: Decimal
    sum: Decimal
    accounts: Decimal

    EXAMPLE: ClassVar[object] = {
        "currency": "USD",
        "entries": 2,
        "customers": -1196.0,
        "gateway_clearing": 200.0,
        "gateways": {"default": 200.0},
        "fee_revenue": -4.0,
        "opening_equity": 1000.0,
        "suspense": 0.0,
        "transit": 0.0,
        "sum": 0.0,
        "accounts": 1196.0,
    }


class TrialBalanceView(Struct, frozen=True, kw_only=True):
    """The trial balance up to the journal's last entry, at `position`.

    `set_aside` are the streams of which an event could not be applied; while there is one, the sums lack its money, and
    the books are not balanced.
    """

    balanced: bool
    position: int
    set_aside: list[str]
    currencies: list[CurrencyBalance]

    EXAMPLE: ClassVar[object] = {
        "balanced": True,
        "position": 120,
        "set_aside": [],
        "currencies": [CurrencyBalance.EXAMPLE],
    }


async def read_trial_balance(pool: ReadPool) -> TrialBalanceView:
    """Sum up the journal by currency, in all the time that a request has. Raises DatabaseUnavailable."""
    return await pool.read(
        lambda connection: sum_up_journal(connection, seconds_max=SUM_SECONDS_MAX), answer_seconds_max=READ_SECONDS_MAX
    )


async def sum_up_journal(connection: Connection, *, seconds_max: float | None = None) -> TrialBalanceView:
    """Sum up the journal by currency, within a limit if there is one. Raises psycopg.Error."""
    limit = {"milliseconds_max": 0 if seconds_max is None else round(seconds_max * 1_000)}
    async with connection.transaction():
        await connection.execute(SQL["prepare_sums"], limit)
        sums = currency_sums(await (await connection.execute(SUMS["sum_up"])).fetchall())
        streams = await (await connection.execute(SQL["read_set_aside"])).fetchall()
    set_aside = [stream for (stream,) in streams]
    return TrialBalanceView(
        balanced=not set_aside and all(each.balanced for each in sums),
        set_aside=set_aside,
        position=max((each.position for each in sums), default=0),
        currencies=[_currency_balance(each) for each in sums],
    )


def _currency_balance(sums: CurrencySums) -> CurrencyBalance:
    return CurrencyBalance(
        currency=sums.currency,
        entries=sums.entries,
        customers=decimal(sums.customers_minor, sums.currency),
        gateway_clearing=decimal(sums.gateway_clearing_minor, sums.currency),
        gateways={name: decimal(minor, sums.currency) for name, minor in sums.gateways_minor.items()},
        fee_revenue=decimal(sums.fee_revenue_minor, sums.currency),
        opening_equity=decimal(sums.opening_equity_minor, sums.currency),
        suspense=decimal(sums.suspense_minor, sums.currency),
        transit=decimal(sums.transit_minor, sums.currency),
        sum=decimal(sums.sum_minor, sums.currency),
        accounts=decimal(sums.accounts_minor, sums.currency),
    )
