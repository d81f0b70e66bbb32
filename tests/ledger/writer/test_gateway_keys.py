"""Gateway keys are unique in the world: each batch gives its keys a salt of its own."""

from contextlib import ExitStack

import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.command_ids import new_key_salt
from ledger.domain.identifiers import is_gateway_key, without_salt
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.ledgers.busy import BusyLedger


@pytest.fixture(autouse=True)
def _salted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.writer.batch_view.new_key_salt", new_key_salt)


def first_key(database: Database) -> str:
    """The gateway key of the first payment of a ledger, whose events and queue agree on it."""
    writer = Writer(database)
    writer.start()
    busy = BusyLedger(writer)
    busy.open()
    payment = busy.withdraw()
    with Ledger(database) as ledger:
        key = ledger.payment(payment.payment_id).gateway_key
        busy.call(payment, "declined", BusyLedger.fail, key=key)
        busy.requeue(payment)
        second = ledger.payment(payment.payment_id).gateway_key
    writer.stop()
    assert verify_store(database).errors == []
    assert (without_salt(key), without_salt(second)) == ("payment-1", "payment-1-2")
    assert is_gateway_key(second, payment_id=1, series=2)
    return key


def test_two_ledgers_never_give_the_same_gateway_key(postgres_url: str) -> None:
    """Not even for the same payment of two new ledgers, so that one gateway tells them apart."""
    with ExitStack() as stack:
        keys = {first_key(stack.enter_context(fresh_ledger(postgres_url))) for _ in range(3)}

    assert len(keys) == 3


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        ("payment-7", True),
        ("payment-7-2", True),
        ("payment-7_0123456789abcdef", True),
        ("payment-7-2_0123456789abcdef", True),
        ("payment-7-3_0123456789abcdef", False),
        ("payment-7_", False),
        ("payment-7_0123456789ABCDEF", False),
        ("payment-7_0123456789abcdef0", False),
        ("payment-71_0123456789abcdef", False),
        ("payment-7_0123456789abcdef\r\nX-Evil: 1", False),
    ],
)
def test_a_payments_gateway_keys_are_told_from_others(key: str, is_one: bool) -> None:  # noqa: FBT001 - a column
    """With a salt and without one, up to its series."""
    assert is_one == is_gateway_key(key, payment_id=7, series=2)
