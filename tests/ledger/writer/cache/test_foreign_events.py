"""Events that other writers have appended, applied to the cache."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.commands import Fail, Succeed
from ledger.store.log import Row
from tests.support.ledgers.paper import PaperStore, PaperWriter, deposit, open_account, state_of, withdrawal


def test_events_of_others_change_the_accounts_that_are_known(ledger: PaperWriter) -> None:
    """A cached account is updated. An account outside the cache is not loaded."""
    ledger.one(withdrawal("1.00"))
    other = PaperWriter(ledger.store)
    other.told(1, "approved", Succeed())
    other.opened("5.00")
    other.one(withdrawal("1.00", account_id=2))

    ledger.begin()

    assert ledger.cache.accounts == {"account-1": ledger.account(1)}


def test_a_payment_that_others_go_on_with_is_forgotten(ledger: PaperWriter) -> None:
    """The next batch that needs it reads its current state."""
    ledger.one(deposit("1.00", idempotency_key="k"))
    other = PaperWriter(ledger.store)
    other.told(1, "approved", Succeed())

    ledger.begin()
    forgotten = "payment-1" not in ledger.cache.payments
    replayed = ledger.one(deposit("1.00", idempotency_key="k"))

    assert forgotten
    assert replayed.replayed
    assert ledger.cache.payments["payment-1"].state == "succeeded"


def test_a_writer_that_caches_foreign_payments_has_those_that_others_accepted(ledger: PaperWriter) -> None:
    """It need not read them when it records their outcomes. A writer that only accepts payments does not cache them."""
    settling = PaperWriter(ledger.store, caches_foreign_payments=True)
    settling.one(deposit("1.00"))
    PaperWriter(ledger.store).one(withdrawal("1.00"))

    settling.begin()
    ledger.begin()

    assert settling.cache.payments["payment-1025"] == ledger.payment(1025)
    assert ledger.cache.payments == {}


def test_pending_deposits_of_other_writers_count(ledger: PaperWriter) -> None:
    """A payment outside the cache changes the pending sum of a cached account."""
    other = PaperWriter(ledger.store)
    other.write(deposit("2.00"), deposit("3.00"))

    ledger.begin()
    both = dict(ledger.cache.pending_minor)
    other.told(1, "approved", Succeed())
    ledger.begin()

    assert both == {"account-1": 490}
    assert ledger.cache.pending_minor == {"account-1": 294}


def test_an_event_that_is_known_already_is_not_applied_twice(ledger: PaperWriter) -> None:
    """An account may be loaded as of the head before the rows up to that head are applied."""
    ledger.one(withdrawal("1.00"))
    rows = [(position, *row) for position, row in enumerate(ledger.store.log, start=1)]
    before = state_of(ledger.cache)

    ledger.cache.apply_foreign_events(rows)

    assert before == state_of(ledger.cache)


def test_a_gap_in_a_stream_is_a_bug(ledger: PaperWriter) -> None:
    """Positions have no gaps, so a missing version was not read, and the cache must not go on."""
    other = PaperWriter(ledger.store)
    other.write(withdrawal("1.00"), withdrawal("1.00"))
    position, row = len(ledger.store.log), ledger.store.log[-1]

    with pytest.raises(AssertionError, match="account-1"):
        ledger.cache.apply_foreign_events([(position, *row)])


def test_an_event_of_an_account_outside_the_cache_is_not_decoded(ledger: PaperWriter) -> None:
    """Most events of other writers are about accounts outside the cache."""
    unreadable = Row("account-99", 2, "account.funds_held", b"not looked at")

    ledger.cache.apply_foreign_events([(9, *unreadable)])

    assert "account-99" not in ledger.cache.accounts


@settings(deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=30))
def test_writers_that_take_turns_have_the_same_cache(turns: list[tuple[int, int, bool]]) -> None:
    """The state is the same if a writer wrote an event, applied it from the log, or loaded the stream later."""
    store = PaperStore()
    writers = [PaperWriter(store), PaperWriter(store, capacity=2), PaperWriter(store, capacity=1)]
    writers[0].write(*[open_account("10.00") for _ in range(3)])

    for who, what, good in turns:
        store.clock += timedelta(seconds=1)
        writer, under_way = writers[who], list(store.queue)
        if what < 3 or not under_way:
            request_payment = deposit if good else withdrawal
            writer.one(request_payment("0.50", account_id=what % 3 + 1))
        else:
            payment_id = under_way[what % len(under_way)]
            writer.told(payment_id, *(("approved", Succeed()) if good else ("declined", Fail())))

    for writer in writers:
        writer.begin()
        for account in writer.cache.accounts.values():
            assert account == writer.account(account.account_id)
            assert store.pending_minor(account.account_id) == writer.cache.pending_minor[account.id]
        for payment in writer.cache.payments.values():
            assert payment == writer.payment(payment.payment_id)
