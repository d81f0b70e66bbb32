"""Partitions: each user and payment belongs to one of them, and ids are made from its slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.identifiers import ALL_SLOTS, ID_MAX, SLOTS, Slots, payment_id
from ledger.partition.partition import Partition, Partitions
from ledger.store.database import Database

COUNTS = st.sampled_from([1, 2, 4, 256, 1024])


def ledger_of(count: int) -> Partitions:
    """A ledger of so many partitions, which need no database to be asked who belongs where."""
    return Partitions([Partition(Database("", f"ledger_{number}"), Slots(number, count)) for number in range(count)])


def test_a_ledger_that_was_not_split_has_one_partition() -> None:
    """It owns all slots, and counts accounts from 1."""
    database = Database("", "ledger")
    partitions = Partitions.whole(database)

    assert (len(partitions), [*partitions], partitions.only.slots) == (1, [Partition(database)], ALL_SLOTS)
    assert (partitions.of(1), partitions.of(ID_MAX)) == (partitions.only, partitions.only)
    assert (partitions.only.number, partitions.only.schema) == (0, "ledger")
    assert (ALL_SLOTS.first_account_id, ALL_SLOTS.account_id_after(1)) == (1, 2)


@given(COUNTS, st.integers(1, 100_000))
def test_a_user_belongs_to_one_partition(count: int, account_id: int) -> None:
    """To the one whose slots have the user's."""
    partitions = ledger_of(count)

    owners = [partition for partition in partitions if account_id in partition.slots]

    assert owners == [partitions.of(account_id)]


@given(COUNTS, st.integers(1, 100_000), st.integers(0, 10**9))
def test_a_payment_belongs_to_its_users_partition(count: int, account_id: int, sequence: int) -> None:
    """However many there were before it."""
    partitions = ledger_of(count)

    assert partitions.of(payment_id(sequence, account_id)) == partitions.of(account_id)


@pytest.mark.parametrize("count", [1, 2, 4, 1024])
def test_all_partitions_together_give_each_account_id_once(count: int) -> None:
    """Each counts on in steps of P from its number + 1."""
    given_out = []
    for partition in ledger_of(count):
        account_id = partition.slots.first_account_id
        for _ in range(2 * SLOTS // count):
            given_out.append(account_id)
            account_id = partition.slots.account_id_after(account_id)

    assert sorted(given_out) == list(range(1, 2 * SLOTS + 1))


@pytest.mark.parametrize(("number", "count"), [(0, 0), (0, 3), (2, 2), (-1, 2), (0, 2048)])
def test_slots_that_would_be_nobodys_or_of_two_are_a_mistake(number: int, count: int) -> None:
    """P is a power of two up to 1024, and numbers are below it."""
    with pytest.raises(AssertionError):
        Slots(number, count)


def test_a_list_with_a_partition_missing_is_a_mistake() -> None:
    """Its users would belong to nobody."""
    with pytest.raises(AssertionError):
        Partitions([Partition(Database("", "ledger_0"), Slots(0, 2))])
    with pytest.raises(AssertionError, match="several"):
        ledger_of(2).only  # noqa: B018 - it is the asking that is a mistake
