"""Loading the streams that a batch needs into the cache."""

from ledger.domain.commands import Succeed
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.events import IdempotencyKey
from ledger.store.serialization import decode_snapshot
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.cache_loading import streams_of
from tests.support.ledgers.paper import PaperWriter, deposit, open_account, outcome, requeue, resolve, withdrawal


def test_streams_are_loaded_from_rows_in_any_order(ledger: PaperWriter) -> None:
    """The query has no ORDER BY, so rows of several streams may be mixed."""
    ledger.write(*[withdrawal("0.10") for _ in range(15)])
    cache = AggregateCache(capacity=10)

    cache.load(list(reversed(ledger.store.log)), {1: 0})

    assert cache.accounts == {"account-1": ledger.account()}
    assert len(cache.payments) == 15
    assert cache.payments["payment-1"] == ledger.payment(1)


def test_an_account_is_loaded_from_its_snapshot_and_the_events_after_it(ledger: PaperWriter) -> None:
    """Events before the snapshot are not read, so an account with 100,000 events loads as fast as one with ten."""
    ledger.write(*[withdrawal("0.01") for _ in range(120)])
    snapshot, *_ = ledger.store.snapshots
    after = [row for row in ledger.store.log if row.originator_id == "account-1"][snapshot.originator_version :]
    cache = AggregateCache(capacity=10)

    cache.load([*reversed(after), snapshot], {})

    assert cache.accounts["account-1"] == ledger.account()
    assert cache.pending_minor == {"account-1": 0}


def test_an_account_may_be_loaded_from_its_snapshot_alone(ledger: PaperWriter) -> None:
    """It has no event after the snapshot."""
    ledger.write(*[withdrawal("0.01") for _ in range(120)])
    snapshot, *_ = ledger.store.snapshots
    cache = AggregateCache(capacity=10)

    cache.load([snapshot], {})

    assert cache.accounts["account-1"].version == snapshot.originator_version
    assert cache.accounts["account-1"] == decode_snapshot(snapshot.state)


def test_a_loaded_account_has_its_pending_sum(ledger: PaperWriter) -> None:
    """The sum comes from the gateway queue, and is 0 without an entry."""
    ledger.opened("1.00")
    cache = AggregateCache(capacity=10)

    cache.load(ledger.store.log, {1: 500})

    assert cache.pending_minor == {"account-1": 500, "account-2": 0}


def test_commands_tell_which_streams_they_need(ledger: PaperWriter) -> None:
    """The accounts and payments that they name, and those that were created under their idempotency keys."""
    ledger.one(deposit())
    report = outcome(ledger.payment(), "approved", Succeed())
    key = IdempotencyKey(scope="s", key="k", fingerprint="f")
    keys = [
        IdempotencyRecord(subject_kind="account", subject_id=8, idempotency=key),
        IdempotencyRecord(subject_kind="payment", subject_id=9, idempotency=key),
    ]

    assert streams_of([], []) == set()
    assert streams_of([open_account()], keys) == {"account-8", "payment-9"}
    assert streams_of([deposit(account_id=3), withdrawal(account_id=4)], []) == {"account-3", "account-4"}
    assert streams_of([report], []) == {"account-1", "payment-1"}
    assert streams_of([requeue(5), resolve(6, "failed")], []) == {"payment-5", "payment-6"}
