"""The tables of the books: the database refuses an entry that does not balance, whatever program writes it."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import psycopg.errors
import pytest
from msgspec.structs import replace

from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.store.database import Database
from projections.contract.table_names import LIVE
from projections.models.journal import Entries, EntryRow, PostingRow, store

AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ENTRY: Final = EntryRow(5, 1, AT)
CUSTOMER: Final = PostingRow(5, 1, "customer", 7, None, "credit", 196, "USD", 1_196)
CLEARING: Final = PostingRow(5, 2, "gateway_clearing", None, "default", "debit", 200, "USD", None)
FEE: Final = PostingRow(5, 3, "fee_revenue", None, None, "credit", 4, "USD", None)


@pytest.fixture
def service(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection with the rights of the service."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        yield connection


def add(connection: psycopg.Connection[Any], postings: Sequence[PostingRow], entries: Sequence[EntryRow]) -> None:
    """Add entries as the projector does."""
    with connection.transaction(), connection.pipeline():
        store(connection, Entries(entries, postings), LIVE)


def sums(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """The entries that are there."""
    return connection.execute(
        "SELECT position, currency, payment_id, debit_minor, credit_minor FROM journal_entry ORDER BY 1, 2"
    ).fetchall()


def test_an_entry_has_the_sums_of_its_postings(service: psycopg.Connection[Any]) -> None:
    """Which the database counts; the program gives none."""
    other = [replace(posting, position=9, amount_minor=10 * posting.amount_minor) for posting in (CUSTOMER, CLEARING)]
    other[0].amount_minor = 2_000

    add(service, [CUSTOMER, CLEARING, FEE, *other], [ENTRY, EntryRow(9, None, AT)])

    assert sums(service) == [(5, "USD", 1, 200, 200), (9, "USD", None, 2_000, 2_000)]


def test_an_entry_may_have_any_number_of_postings(service: psycopg.Connection[Any]) -> None:
    """Of any accounts, several customers among them."""
    postings = [
        PostingRow(5, 1, "customer", 7, None, "debit", 102, "USD", 1_000),
        PostingRow(5, 2, "customer", 8, None, "credit", 60, "USD", 60),
        PostingRow(5, 3, "customer", 9, None, "credit", 40, "USD", 40),
        PostingRow(5, 4, "fee_revenue", None, None, "credit", 1, "USD", None),
        PostingRow(5, 5, "suspense", None, None, "credit", 1, "USD", None),
        PostingRow(5, 6, "transit", None, None, "debit", 5, "USD", None),
        PostingRow(5, 7, "gateway_clearing", None, "other", "credit", 5, "USD", None),
    ]

    add(service, postings, [ENTRY])

    assert sums(service) == [(5, "USD", 1, 107, 107)]


def test_an_entry_balances_in_each_currency(service: psycopg.Connection[Any]) -> None:
    """One event in two currencies has an entry in each, and none makes up for the other."""
    euros = [replace(CLEARING, number=4, currency="EUR"), replace(FEE, number=5, currency="EUR", amount_minor=200)]

    add(service, [CUSTOMER, CLEARING, FEE, *euros], [ENTRY])

    assert sums(service) == [(5, "EUR", 1, 200, 200), (5, "USD", 1, 200, 200)]


def test_postings_without_an_entry_are_refused(service: psycopg.Connection[Any]) -> None:
    """Also where they would balance: the books have no posting that no entry counts."""
    forgotten = [replace(posting, position=9) for posting in (CUSTOMER, CLEARING, FEE)]

    with pytest.raises(psycopg.errors.NotNullViolation):
        add(service, [CUSTOMER, CLEARING, FEE, *forgotten], [ENTRY])

    assert service.execute("SELECT count(*) FROM journal_posting").fetchone() == (0,)


EUROS: Final = replace(FEE, currency="EUR")
SWAPPED: Final = replace(FEE, direction="debit")


@pytest.mark.parametrize(
    "postings",
    [
        pytest.param([CUSTOMER, CLEARING], id="one posting is missing"),
        pytest.param([CUSTOMER, CLEARING, replace(FEE, amount_minor=5)], id="one is too large"),
        pytest.param([CUSTOMER, CLEARING, SWAPPED], id="one is on the wrong side"),
        pytest.param([CUSTOMER, CLEARING, EUROS], id="one is in another currency"),
        pytest.param([CUSTOMER, CLEARING, FEE, replace(FEE, number=4)], id="one is there twice"),
        pytest.param([CUSTOMER, CLEARING, replace(FEE, position=9)], id="one belongs to another entry"),
    ],
)
def test_an_entry_that_does_not_balance_is_refused(
    service: psycopg.Connection[Any], postings: list[PostingRow]
) -> None:
    """And its postings with it."""
    with pytest.raises(psycopg.errors.CheckViolation, match="journal_entry_balanced"):
        add(service, postings, [ENTRY])

    assert service.execute("SELECT count(*) FROM journal_posting").fetchone() == (0,)


@pytest.mark.parametrize(
    ("posting", "constraint"),
    [
        (replace(FEE, amount_minor=0), "amount"),
        (replace(FEE, amount_minor=-4), "amount"),
        (replace(CUSTOMER, amount_minor=-196), "amount"),
        (replace(FEE, direction="sideways"), "direction"),
        (replace(FEE, account="petty_cash"), "account"),
        (replace(FEE, number=0), "number_counts"),
        (replace(FEE, account_id=7, balance_after_minor=4), "of_customer"),
        (replace(FEE, balance_after_minor=4), "of_customer"),
        (replace(CUSTOMER, account_id=None, balance_after_minor=None), "of_customer"),
        (replace(CUSTOMER, balance_after_minor=None), "of_customer"),
        (replace(CLEARING, gateway=None), "of_gateway"),
        (replace(FEE, gateway="default"), "of_gateway"),
        (replace(CUSTOMER, balance_after_minor=-1), "balance"),
        (replace(CUSTOMER, balance_after_minor=BALANCE_MINOR_MAX + 1), "balance"),
    ],
)
def test_a_posting_that_cannot_be_is_refused(
    service: psycopg.Connection[Any], posting: PostingRow, constraint: str
) -> None:
    """By a constraint of its own, so that the projector can name it."""
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        add(service, [posting], [ENTRY])

    assert refused.value.diag.constraint_name == f"journal_posting_{constraint}"


@pytest.mark.parametrize("balance_after_minor", [0, BALANCE_MINOR_MAX])
def test_a_balance_may_be_nothing_or_the_largest(service: psycopg.Connection[Any], balance_after_minor: int) -> None:
    """Both ends of the range belong to it."""
    add(service, [replace(CUSTOMER, balance_after_minor=balance_after_minor), CLEARING, FEE], [ENTRY])

    assert len(sums(service)) == 1


def test_an_entry_is_added_once(service: psycopg.Connection[Any]) -> None:
    """An event that is applied twice is refused, and a second posting to one customer too."""
    add(service, [CUSTOMER, CLEARING, FEE], [ENTRY])

    for twice in ([CUSTOMER, CLEARING, FEE], [replace(CUSTOMER, number=4)]):
        with pytest.raises(psycopg.errors.UniqueViolation):
            add(service, twice, [ENTRY])
