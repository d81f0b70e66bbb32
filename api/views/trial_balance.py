"""The trial balance: the sums of the journal in each currency, and whether they balance."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Final

from msgspec import UNSET, Struct, UnsetType

from api.http.amounts import decimal
from api.http.deadlines import READ_SECONDS_MAX
from api.queries.pool import Connection, ReadPool
from ledger.store.statements import load_statements
from projections.models.trial_balance import SQL as SUMS
from projections.models.trial_balance import CurrencySums, add_up_sums, currency_sums

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


class PartitionBalance(Struct, frozen=True, kw_only=True):
    """Whether the books of a partition are balanced by themselves, up to the last entry of its journal."""

    partition: int
    balanced: bool
    position: int

    EXAMPLE: ClassVar[object] = {"partition": 0, "balanced": True, "position": 120}


class JournalSums(Struct, frozen=True):
    """The sums of a partition's journal by currency, and the streams that are set aside in it."""

    currencies: list[CurrencySums]
    set_aside: list[str]

    @property
    def balanced(self) -> bool:
        """Whether the books balance, with the money of all users in them."""
        return not self.set_aside and all(each.balanced for each in self.currencies)

    @property
    def position(self) -> int:
        """The position of the journal's last entry; 0 without any."""
        return max((each.position for each in self.currencies), default=0)


class TrialBalanceView(Struct, frozen=True, kw_only=True):
    """The trial balance up to the journal's last entry, at `position`.

    `set_aside` are the streams of which an event could not be applied; while there is one, the sums lack its money, and
    the books are not balanced. Over several partitions the currencies are summed up, `position` is null, and
    `partitions` has the position of each; the books are balanced when those of each partition are.
    """

    balanced: bool
    position: int | None
    set_aside: list[str]
    currencies: list[CurrencyBalance]
    partitions: list[PartitionBalance] | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        "balanced": True,
        "position": 120,
        "set_aside": [],
        "currencies": [CurrencyBalance.EXAMPLE],
    }


async def read_journal_sums(pool: ReadPool) -> JournalSums:
    """Sum up a partition's journal, in all the time that a request has. Raises DatabaseUnavailable."""
    return await pool.read(
        lambda connection: sum_up_journal(connection, seconds_max=SUM_SECONDS_MAX), answer_seconds_max=READ_SECONDS_MAX
    )


async def sum_up_journal(connection: Connection, *, seconds_max: float | None = None) -> JournalSums:
    """Sum up a partition's journal by currency, within a limit if there is one. Raises psycopg.Error."""
    limit = {"milliseconds_max": 0 if seconds_max is None else round(seconds_max * 1_000)}
    async with connection.transaction():
        await connection.execute(SQL["prepare_sums"], limit)
        sums = currency_sums(await (await connection.execute(SUMS["sum_up"])).fetchall())
        streams = await (await connection.execute(SQL["read_set_aside"])).fetchall()
    return JournalSums(sums, [stream for (stream,) in streams])


def trial_balance_view(journals: Sequence[JournalSums]) -> TrialBalanceView:
    """Make the answer from the sums of all partitions, in their order."""
    several = len(journals) > 1
    return TrialBalanceView(
        balanced=all(journal.balanced for journal in journals),
        set_aside=sorted({stream for journal in journals for stream in journal.set_aside}),
        position=None if several else journals[0].position,
        currencies=[_currency_balance(each) for each in add_up_sums([journal.currencies for journal in journals])],
        partitions=[
            PartitionBalance(partition=number, balanced=journal.balanced, position=journal.position)
            for number, journal in enumerate(journals)
        ]
        if several
        else UNSET,
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
