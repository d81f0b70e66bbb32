"""The table of kinds holds: payments of each kind behave as its row says."""

from collections.abc import Callable
from typing import get_args

import pytest

from ledger.domain.commands import (
    REQUESTS,
    AnyCommand,
    Fail,
    RequestDeposit,
    RequestPayment,
    RequestWithdrawal,
    Succeed,
)
from ledger.domain.events import EVENT_BY_TOPIC, PaymentFacts, PaymentRequested
from ledger.domain.kinds import DEPOSIT, KINDS, WITHDRAWAL, Kind, PaymentKind
from tests.support.ledgers.paper import PaperWriter, deposit, withdrawal

EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
REQUEST_OF: dict[PaymentKind, Callable[..., RequestDeposit | RequestWithdrawal]] = {
    "deposit": deposit,
    "withdraw": withdrawal,
}


def test_the_table_has_a_row_for_each_kind() -> None:
    """Under the name by which it is stored, and with a command of its own."""
    assert tuple(KINDS) == get_args(PaymentKind)
    assert [(name, kind.name) for name, kind in KINDS.items()] == [(name, name) for name in KINDS]
    assert {kind.name: kind.command for kind in KINDS.values()} == {
        name: command.__name__ for name, command in REQUESTS.items()
    }
    assert set(REQUESTS.values()) == {each for each in get_args(AnyCommand) if issubclass(each, RequestPayment)}


@EACH
def test_a_kind_is_requested_by_its_command(ledger: PaperWriter, kind: Kind) -> None:
    """The payment is of the kind, and its first event names the command as its cause."""
    payment = ledger.requested(REQUEST_OF[kind.name]("2.00"))

    first = ledger.store.events(payment.id)[0]
    assert isinstance(first.data, PaymentRequested)
    assert (kind.name, kind.command) == (first.data.kind, first.cause)


@EACH
def test_a_kind_holds_money_or_counts_as_coming_in(ledger: PaperWriter, kind: Kind) -> None:
    """From the request until the payment has failed."""
    payment = ledger.requested(REQUEST_OF[kind.name]("2.00"))

    account, pending_minor = ledger.account(), ledger.cache.pending_minor["account-1"]
    assert (account.held_minor, payment.held) == ((payment.account_minor, True) if kind.holds else (0, False))
    assert pending_minor == (payment.account_minor if kind.direction == "in" else 0)

    ledger.told(payment.payment_id, "declined", Fail())

    assert (ledger.account().held_minor, ledger.cache.pending_minor["account-1"]) == (0, 0)


@EACH
def test_a_kind_settles_by_its_event_in_its_direction(ledger: PaperWriter, kind: Kind) -> None:
    """By the amount less its fee, or with the fee on top."""
    payment = ledger.requested(REQUEST_OF[kind.name]("2.00"))

    ledger.told(payment.payment_id, "approved", Succeed())

    change_minor = ledger.account().posted_minor - 1_000
    assert kind.settling_topic == ledger.store.topics("account-1")[-1]
    assert kind.settling_topic in EVENT_BY_TOPIC
    assert change_minor == (payment.account_minor if kind.direction == "in" else -payment.account_minor)


@pytest.mark.parametrize(("kind", "account_minor"), [(DEPOSIT, 19_600), (WITHDRAWAL, 20_400)])
def test_a_fee_is_deducted_or_comes_on_top(kind: Kind, account_minor: int) -> None:
    """200.00 with a fee of 4.00."""
    assert account_minor == PaymentFacts(7, 1, kind.name, 20_000, 400, "USD").account_minor
