"""The read model of the books: an entry for each event that moves money, and its postings to the accounts of the chart.

`projections.contract.postings` has the rule for the postings of an event; here the postings get their numbers, and a
customer's the balance after it, which goes on from the account's row as it was before the page. The database sums up
the postings that it has been given, and refuses an entry whose debits are not its credits.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger.domain.events import AccountOpened, PaymentAdjusted
from ledger.store.statements import load_statements
from projections.contract.columns import columns
from projections.contract.event_kinds import account_of, is_of_account
from projections.contract.log_page import Connection, Placed
from projections.contract.postings import ChartAccount, Posting, Side, postings
from projections.contract.read_model import ReadModel, Table
from projections.contract.table_names import aimed
from projections.models.account_balance import ACCOUNTS, AccountBalance

SQL: Final = load_statements("projections.models", "journal.sql")


class EntryRow(Struct, gc=False):
    """A row of the entries, without the currency and the sums, which the database takes from the postings."""

    position: int
    payment_id: int | None
    at: datetime


class PostingRow(Struct, gc=False):
    """A row of the postings, column by column."""

    position: int
    number: int
    account: ChartAccount
    account_id: int | None
    gateway: str | None
    direction: Side
    amount_minor: int
    currency: str
    balance_after_minor: int | None


class Entries(Struct):
    """The additions of a page to the journal: its entries, and the postings of all of them."""

    entries: Sequence[EntryRow]
    postings: Sequence[PostingRow]


def fold(events: Iterable[Placed], accounts: Mapping[int, AccountBalance]) -> Entries:
    """Give the entries of a page; `accounts` are the rows of its accounts as they were before it."""
    balances_minor = {account_id: row.posted_minor for account_id, row in accounts.items()}
    entries: list[EntryRow] = []
    rows: list[PostingRow] = []
    for position, recorded in events:
        event = recorded.data
        if is_of_account(event):
            posted = postings(event, account_id=account_of(recorded))
        elif isinstance(event, PaymentAdjusted):
            posted = postings(event)
        else:
            continue
        if posted:
            assert not sum(each.owned_minor for each in posted), (event, posted)
            payment_id = None if isinstance(event, AccountOpened) else event.payment_id
            entries.append(EntryRow(position, payment_id, recorded.at))
            rows += [_row(position, number, each, balances_minor) for number, each in enumerate(posted, start=1)]
    return Entries(entries, rows)


def _row(position: int, number: int, posting: Posting, balances_minor: dict[int, int]) -> PostingRow:
    """Place a posting, and move the balance of the customer whom it is about, if it is."""
    account_id, balance_after_minor = posting.account_id, None
    if account_id is not None:
        balance_after_minor = balances_minor.get(account_id, 0) + posting.owned_minor
        balances_minor[account_id] = balance_after_minor
    return PostingRow(
        position,
        number,
        posting.account,
        account_id,
        posting.gateway,
        posting.direction,
        posting.amount_minor,
        posting.currency,
        balance_after_minor,
    )


def store(connection: Connection, added: Entries, suffix: str) -> None:
    """Send entries to be added, their postings first."""
    if added.entries:
        connection.execute(aimed(SQL["store_postings"], suffix), columns(PostingRow, added.postings), prepare=True)
        page = {"first": added.postings[0].position, "last": added.postings[-1].position}
        entries = columns(EntryRow, added.entries) | page
        connection.execute(aimed(SQL["store_entries"], suffix), entries, prepare=True)


MODEL: Final = ReadModel(
    name="journal",
    tables=(
        Table(
            name="journal_entry",
            key=("position", "currency"),
            columns=(*EntryRow.__struct_fields__, "currency", "debit_minor", "credit_minor"),
        ),
        Table(name="journal_posting", key=("position", "number"), columns=PostingRow.__struct_fields__),
    ),
    reads=(ACCOUNTS,),
    fold=fold,
    store=store,
)
