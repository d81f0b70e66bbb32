"""The books: what each entry posts, and to which account."""

import msgspec

from tests.projections.models.tables import tables_of
from tests.support.histories import History


def test_entries_post_to_the_accounts_of_the_chart() -> None:
    """On one side or the other, and numbered; an opening of nothing is an entry too."""
    history = History()
    account_id, empty = history.open(), history.open("0")
    for payment_id in (history.deposit(account_id), history.withdraw(account_id)):
        history.attempt(payment_id, "approved", "succeed")

    tables = tables_of(history.events)

    opened, opened_empty, deposited, withdrawn = (entry.position for entry in tables.entries)
    assert [msgspec.structs.astuple(posting) for posting in tables.postings] == [
        (opened, 1, "customer", account_id, None, "credit", 100_000, "USD", 100_000),
        (opened, 2, "opening_equity", None, None, "debit", 100_000, "USD", None),
        (opened_empty, 1, "customer", empty, None, "credit", 0, "USD", 0),
        (deposited, 1, "customer", account_id, None, "credit", 19_600, "USD", 119_600),
        (deposited, 2, "gateway_clearing", None, "default", "debit", 20_000, "USD", None),
        (deposited, 3, "fee_revenue", None, None, "credit", 400, "USD", None),
        (withdrawn, 1, "customer", account_id, None, "debit", 5_100, "USD", 114_500),
        (withdrawn, 2, "gateway_clearing", None, "default", "credit", 5_000, "USD", None),
        (withdrawn, 3, "fee_revenue", None, None, "credit", 100, "USD", None),
    ]
    assert [entry.payment_id for entry in tables.entries] == [None, None, 1, 1025]
    assert [history.events[entry.position - 1][1].at for entry in tables.entries] == [e.at for e in tables.entries]
