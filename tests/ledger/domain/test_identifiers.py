"""Ids, slots and the names of streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.identifiers import (
    ID_MAX,
    SLOTS,
    account_stream,
    gateway_key,
    payment_id,
    payment_scope,
    payment_stream,
    slot,
    stream_id,
)

ACCOUNT_IDS = st.integers(1, ID_MAX)
SEQUENCES = st.integers(0, ID_MAX // SLOTS - 1)


@pytest.mark.parametrize(
    ("identifier", "expected"), [(1, 0), (2, 1), (1024, 1023), (1025, 0), (2048, 1023), (ID_MAX, 1022)]
)
def test_a_slot_is_the_id_before_it_modulo_1024(identifier: int, expected: int) -> None:
    """Slots go from 0 to 1023 and then begin again."""
    assert expected == slot(identifier)


@pytest.mark.parametrize(
    ("sequence", "account_id", "expected"),
    [
        (0, 1, 1),
        (1, 1, 1025),
        (0, 2, 2),
        (1, 2, 1026),
        (2, 1, 2049),
        (0, 1024, 1024),
        (0, 1025, 1),
        (7, 1026, 7170),
    ],
)
def test_a_payments_id_is_made_of_the_heads_count_and_its_accounts_slot(
    sequence: int, account_id: int, expected: int
) -> None:
    """The first payment of the first user is 1, as the HTTP contract shows."""
    assert expected == payment_id(sequence, account_id)


@given(sequence=SEQUENCES, account_id=ACCOUNT_IDS)
def test_a_payment_has_its_accounts_slot_and_an_id_that_javascript_can_read(sequence: int, account_id: int) -> None:
    """So a store may be split by slot without renaming anybody."""
    identifier = payment_id(sequence, account_id)

    assert slot(account_id) == slot(identifier)
    assert 1 <= identifier <= ID_MAX
    assert sequence == (identifier - 1) // 1024


@given(first=st.tuples(SEQUENCES, ACCOUNT_IDS), second=st.tuples(SEQUENCES, ACCOUNT_IDS))
def test_two_counts_never_give_one_id(first: tuple[int, int], second: tuple[int, int]) -> None:
    """For all accounts. The ids of one account's payments grow with the count."""
    if first[0] != second[0]:
        assert payment_id(*first) != payment_id(*second)
        assert (first[0] < second[0]) == (payment_id(first[0], 5) < payment_id(second[0], 5))


def test_ids_stay_below_what_javascript_reads_exactly() -> None:
    """2^53 - 1 is the largest safe integer there."""
    assert ID_MAX == 2**53 - 1
    assert SLOTS == 1024


def test_streams_and_scopes_are_named_for_what_they_belong_to() -> None:
    """The names are stored, so they never change."""
    assert account_stream(1) == "account-1"
    assert payment_stream(1025) == "payment-1025"
    assert payment_scope(7) == "user-7"


@given(identifier=st.integers(0, 2**63))
def test_a_stream_gives_its_id_back(identifier: int) -> None:
    """An account's as well as a payment's."""
    assert identifier == stream_id(account_stream(identifier))
    assert identifier == stream_id(payment_stream(identifier))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "account",
        "account-",
        "account--1",
        "account-1x",
        "account- 1",
        "account-1\n",
        "account-1.0",
        "account-١",
        "account-²",
        "account-+1",
        "account-1_0",
        "Account-1",
        "payments-1",
        "user-1",
        "1",
        "-1",
        "account-1-2",
        "payment-" + "9" * 5000,
    ],
)
def test_a_name_that_is_no_stream_of_ours_is_refused(name: str) -> None:
    """Only `account-` or `payment-`, followed by ASCII digits."""
    with pytest.raises(ValueError):  # noqa: PT011 - the name is the whole message
        stream_id(name)


@pytest.mark.parametrize(
    ("payment", "series", "key"), [(7, 1, "payment-7"), (7, 2, "payment-7-2"), (1025, 10, "payment-1025-10")]
)
def test_each_series_calls_the_gateway_under_a_key_of_its_own(payment: int, series: int, key: str) -> None:
    """The first under the payment's name alone."""
    assert key == gateway_key(payment, series)


@given(
    first=st.tuples(st.integers(1, ID_MAX), st.integers(1, 10**6)),
    second=st.tuples(st.integers(1, ID_MAX), st.integers(1, 10**6)),
)
def test_no_two_series_share_a_gateway_key(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Neither of one payment nor of two: the gateway would answer one with what it did for the other."""
    assert (first == second) == (gateway_key(*first) == gateway_key(*second))
