"""The postings of events: the accounts, the sides, and that debits equal credits."""

from datetime import UTC, datetime
from typing import Final, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.account import Account, credit, debit
from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountOpened,
    FundsHeld,
    HoldReleased,
    PaymentAdjusted,
)
from ledger.domain.money import AMOUNT_MINOR_MAX, BALANCE_MINOR_MAX
from projections.contract.postings import Posting, Side, postings

ACCOUNT: Final = Account(
    account_id=7,
    version=1,
    currency="USD",
    posted_minor=BALANCE_MINOR_MAX,
    held_minor=0,
    opened_at=datetime(2026, 11, 23, tzinfo=UTC),
    opening_minor=BALANCE_MINOR_MAX,
)


def credited(gross_minor: int, fee_minor: int) -> AccountCredited:
    """The event of a deposit."""
    return AccountCredited(
        payment_id=1, currency="USD", gross_minor=gross_minor, fee_minor=fee_minor, net_minor=gross_minor - fee_minor
    )


def debited(gross_minor: int, fee_minor: int) -> AccountDebited:
    """The event of a withdrawal."""
    total_minor = gross_minor + fee_minor
    return AccountDebited(
        payment_id=1,
        currency="USD",
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        total_minor=total_minor,
        held_minor=total_minor,
    )


def opened(opening_minor: int) -> AccountOpened:
    """The event of an opening."""
    return AccountOpened(currency="USD", opening_minor=opening_minor)


def adjusted(direction: Literal["in", "out"]) -> AccountAdjusted:
    """The event of money that moved beside a payment's end."""
    return AccountAdjusted(payment_id=1, currency="USD", direction=direction, amount_minor=300)


TABLE: Final[list[tuple[str, AccountEvent, list[tuple[object, ...]]]]] = [
    (
        "an opening is owed to the customer, and was theirs before",
        opened(100_000),
        [("customer", 7, None, "credit", 100_000), ("opening_equity", None, None, "debit", 100_000)],
    ),
    ("an opening of nothing stands in the statement", opened(0), [("customer", 7, None, "credit", 0)]),
    (
        "a deposit",
        credited(20_000, 400),
        [
            ("customer", 7, None, "credit", 19_600),
            ("gateway_clearing", None, "default", "debit", 20_000),
            ("fee_revenue", None, None, "credit", 400),
        ],
    ),
    (
        "a deposit without a fee",
        credited(20_000, 0),
        [("customer", 7, None, "credit", 20_000), ("gateway_clearing", None, "default", "debit", 20_000)],
    ),
    (
        "a deposit that its fee eats up",
        credited(20_000, 20_000),
        [
            ("customer", 7, None, "credit", 0),
            ("gateway_clearing", None, "default", "debit", 20_000),
            ("fee_revenue", None, None, "credit", 20_000),
        ],
    ),
    (
        "a withdrawal",
        debited(5_000, 100),
        [
            ("customer", 7, None, "debit", 5_100),
            ("gateway_clearing", None, "default", "credit", 5_000),
            ("fee_revenue", None, None, "credit", 100),
        ],
    ),
    (
        "a withdrawal without a fee",
        debited(5_000, 0),
        [("customer", 7, None, "debit", 5_000), ("gateway_clearing", None, "default", "credit", 5_000)],
    ),
    (
        "money that came in beside a payment",
        adjusted("in"),
        [("customer", 7, None, "credit", 300), ("gateway_clearing", None, "default", "debit", 300)],
    ),
    (
        "money that went out beside a payment",
        adjusted("out"),
        [("customer", 7, None, "debit", 300), ("gateway_clearing", None, "default", "credit", 300)],
    ),
    ("a hold moves no money", FundsHeld(payment_id=1, currency="USD", amount_minor=5), []),
    ("nor does its release", HoldReleased(payment_id=1, currency="USD", amount_minor=5), []),
]


@pytest.mark.parametrize(("event", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_an_event_posts_to_the_accounts_that_it_moves_money_between(
    event: AccountEvent, expected: list[tuple[object, ...]]
) -> None:
    """In the order customer, gateway or equity, fee; amounts are never below zero."""
    found = [(p.account, p.account_id, p.gateway, p.direction, p.amount_minor) for p in postings(event, account_id=7)]

    assert expected == found


def test_the_table_has_every_event_of_an_account() -> None:
    """Or the rule of a new one would be held by nothing."""
    assert {type(row[1]) for row in TABLE} == set(get_args(AccountEvent))


@given(st.data(), st.integers(1, AMOUNT_MINOR_MAX))
def test_debits_are_credits(data: st.DataObject, gross_minor: int) -> None:
    """For all amounts and fees that the rules of the account allow."""
    fee_minor = data.draw(st.integers(0, gross_minor))
    events: list[AccountEvent] = [
        opened(gross_minor),
        credit(ACCOUNT, payment_id=1, gross_minor=gross_minor, fee_minor=fee_minor),
        debit(ACCOUNT, payment_id=1, gross_minor=gross_minor, fee_minor=fee_minor, held=False),
    ]

    for event in events:
        entry = postings(event, account_id=ACCOUNT.account_id)
        assert side(entry, "debit") == side(entry, "credit")
        assert {posting.currency for posting in entry} == {"USD"}


def side(entry: list[Posting], direction: Side) -> int:
    """The sum of one side of an entry."""
    return sum(each.amount_minor for each in entry if each.direction == direction)


@pytest.mark.parametrize(
    ("direction", "against", "expected"),
    [
        ("in", "suspense", [("suspense", "credit"), ("gateway_clearing", "debit")]),
        ("out", "suspense", [("suspense", "debit"), ("gateway_clearing", "credit")]),
        ("out", "account", []),
    ],
)
def test_an_adjustment_against_suspense_posts_and_one_against_the_account_leaves_that_to_its_event(
    direction: Literal["in", "out"], against: Literal["account", "suspense"], expected: list[tuple[str, str]]
) -> None:
    """An amount is posted once."""
    event = PaymentAdjusted(
        payment_id=1, currency="USD", direction=direction, amount_minor=300, against=against, why="w"
    )

    posted = postings(event, account_id=7)

    assert expected == [(each.account, each.direction) for each in posted]
    assert {each.amount_minor for each in posted} <= {300}


def test_a_credit_is_what_a_customer_gets() -> None:
    """Their money is a liability of ours."""
    (got, *_), (gave, *_) = postings(credited(20_000, 400), account_id=7), postings(debited(5_000, 100), account_id=7)

    assert (got.owned_minor, gave.owned_minor) == (19_600, -5_100)
