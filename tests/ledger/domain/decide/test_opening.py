"""Opening accounts."""

import pytest

from ledger.domain.commands import AccountOpening
from ledger.domain.events import AccountOpened
from ledger.errors import AmountInvalid, CurrencyUnknown, Refusal
from tests.support.ledgers.paper import BEGINNING, PaperWriter, open_account
from tests.support.ledgers.paper_payments import FULL, balance


def test_the_first_account_is_1_and_holds_its_opening_balance() -> None:
    """Answer, event and account agree; the head counts the next one."""
    ledger = PaperWriter()

    answer = ledger.one(open_account("10.5", currency="USD", by="admin"))

    assert answer == AccountOpening(account_id=1, currency="USD", opening_minor=1050, replayed=False)
    (recorded,) = ledger.store.events()
    assert recorded.data == AccountOpened(currency="USD", opening_minor=1050, idempotency=None)
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("account-1", 1, BEGINNING)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("open", "OpenAccount", "admin")
    assert ledger.store.head.next_account_id == 2
    assert balance(ledger) == (1050, 0)


def test_accounts_are_counted_and_may_be_empty() -> None:
    """Also within one batch, and in any currency."""
    ledger = PaperWriter()

    answers = ledger.write(open_account("0"), open_account("7", currency="JPY"), open_account(FULL))

    assert [(answer.account_id, answer.opening_minor) for answer in answers] == [(1, 0), (2, 7), (3, 10**15)]
    assert ledger.account(2).currency == "JPY"


@pytest.mark.parametrize(
    ("opening", "currency", "refusal"),
    [
        ("-1", "USD", AmountInvalid),
        ("0.001", "USD", AmountInvalid),
        ("10000000000000.01", "USD", AmountInvalid),
        ("1", "XXX", CurrencyUnknown),
    ],
)
def test_an_account_is_not_opened_with_what_is_no_amount(opening: str, currency: str, refusal: type[Refusal]) -> None:
    """An unknown currency is refused too. Nothing is written."""
    ledger = PaperWriter()

    with pytest.raises(refusal):
        ledger.one(open_account(opening, currency=currency))

    assert ledger.store.log == []
