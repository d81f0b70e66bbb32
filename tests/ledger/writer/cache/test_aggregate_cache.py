"""The cache of aggregates: what a committed batch leaves in it, what it evicts, and its snapshots."""

import pytest

from ledger.store.serialization import SNAPSHOT_TOPIC, decode_snapshot
from ledger.writer.aggregate_cache import SNAPSHOT_EVERY
from tests.support.ledgers.paper import PaperStore, PaperWriter, deposit, open_account, state_of, withdrawal


def test_a_committed_batch_becomes_part_of_the_cache(ledger: PaperWriter) -> None:
    """The cache has the batch's accounts, payments and pending sums, and the position of the head."""
    ledger.write(deposit("2.00"), withdrawal("1.00"), open_account("3.00"))

    assert ledger.cache.accounts == {"account-1": ledger.account(1), "account-2": ledger.account(2)}
    assert ledger.cache.payments == {"payment-1": ledger.payment(1), "payment-1025": ledger.payment(1025)}
    assert ledger.cache.pending_minor == {"account-1": 196, "account-2": 0}
    assert (ledger.cache.position, ledger.cache.digest) == (ledger.store.head.position, ledger.store.head.digest)


def test_the_cache_evicts_what_was_changed_longest_ago() -> None:
    """At most `capacity` accounts and as many payments stay. The pending sum is evicted with its account."""
    ledger = PaperWriter(capacity=2)
    ledger.write(*[open_account("10.00") for _ in range(3)])
    assert list(ledger.cache.accounts) == ["account-2", "account-3"]

    ledger.write(withdrawal(account_id=2), deposit(account_id=3))
    ledger.write(withdrawal(account_id=1))

    assert list(ledger.cache.accounts) == ["account-2", "account-1"]
    assert list(ledger.cache.payments) == ["payment-1027", "payment-2049"]
    assert ledger.cache.pending_minor == {"account-2": 0, "account-1": 0}


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_the_cache_never_holds_more_than_its_capacity(capacity: int) -> None:
    """A batch that needs more than that while it is decided is decided correctly."""
    ledger = PaperWriter(capacity=capacity)
    ledger.write(*[open_account("10.00") for _ in range(4)])

    for _ in range(3):
        ledger.write(*[withdrawal("1.00", account_id=account_id) for account_id in (1, 2, 3, 4)])
        assert len(ledger.cache.accounts) <= capacity
        assert len(ledger.cache.payments) <= capacity
        assert set(ledger.cache.pending_minor) == set(ledger.cache.accounts)

    assert [ledger.account(account_id).held_minor for account_id in (1, 2, 3, 4)] == [306] * 4


def test_an_evicted_account_is_loaded_again_as_it_was() -> None:
    """With its pending sum."""
    ledger = PaperWriter(capacity=1)
    ledger.opened("10.00")
    ledger.write(deposit("2.00"), withdrawal("1.00"))
    ledger.opened("1.00")
    assert "account-1" not in ledger.cache.accounts

    batch = ledger.begin([deposit()])

    assert batch.account(1) == ledger.account(1)
    assert batch.pending_minor(1) == 196


def test_the_cache_can_be_cleared(ledger: PaperWriter) -> None:
    """The writer clears it when its content may be wrong."""
    ledger.write(deposit())

    ledger.cache.forget()

    assert state_of(ledger.cache)[0] == ([], [], {})


def test_an_account_gets_a_snapshot_when_it_passes_a_round_version(ledger: PaperWriter) -> None:
    """Each batch that passes one stores one snapshot, of the account after the batch, equal to the account's fold."""
    assert SNAPSHOT_EVERY == 4
    sizes = [2, 1, 1, 2, 5, 50]
    versions = []

    for size in sizes:
        before = len(ledger.store.snapshots)
        ledger.write(*[withdrawal("0.01", fee_rate_ppm=0) for _ in range(size)])
        versions.append([row.originator_version for row in ledger.store.snapshots[before:]])

    assert versions == [[], [4], [], [], [12], [62]]
    of_the_account = [row for row in ledger.store.log if row.originator_id == "account-1"]
    for row in ledger.store.snapshots:
        as_it_was = PaperWriter(PaperStore(log=of_the_account[: row.originator_version])).account()
        assert as_it_was == decode_snapshot(row.state)
        assert (row.originator_id, row.topic) == ("account-1", SNAPSHOT_TOPIC)


def test_only_accounts_have_snapshots_and_each_its_own(ledger: PaperWriter) -> None:
    """Payments have none. Two accounts that pass a round version in one batch have one each, in order."""
    ledger.opened("10.00")
    ledger.write(*[withdrawal("0.01", account_id=1 + n % 2) for n in range(220)])

    snapshots = [(row.originator_id, row.originator_version) for row in ledger.store.snapshots]

    assert snapshots == [("account-1", 111), ("account-2", 111)]
