"""A batch's view of the ledger: the cache, with the batch's own decisions on top."""

import pytest
from msgspec.structs import replace

from ledger.domain.commands import AnyCommand, Fail, Succeed
from ledger.domain.decision import Decision, IdempotencyRecord, PlannedEvent
from ledger.domain.events import FundsHeld, IdempotencyKey, PaymentParked
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.store.log import Head
from ledger.store.serialization import decode
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from tests.support.ledgers.paper import (
    BEGINNING,
    PaperWriter,
    decide_and_apply,
    deposit,
    open_account,
    outcome,
    requeue,
    state_of,
    withdrawal,
)


def test_a_batch_sees_its_own_accounts_and_payments_before_the_cache_does(ledger: PaperWriter) -> None:
    """Each command sees the ones before it. The cache gets their changes when the batch is committed."""
    commands: list[AnyCommand] = [open_account("7.00"), withdrawal("5.00"), deposit("1.00", account_id=2)]
    batch = ledger.begin(commands)

    decide_and_apply(batch, commands)

    assert (batch.account(1).held_minor, ledger.cache.accounts["account-1"].held_minor) == (510, 0)
    assert batch.account(2).posted_minor == 700
    assert (batch.payment(1).kind, batch.payment(1026).kind) == ("withdraw", "deposit")
    assert "account-2" not in ledger.cache.accounts
    assert ledger.cache.payments == {}
    assert (batch.next_account_id, batch.next_payment_sequence) == (3, 2)


def test_a_failing_batch_leaves_no_trace(ledger: PaperWriter) -> None:
    """The cache is unchanged, also in its order of eviction, and the batch's inputs are unchanged too."""
    ledger.write(deposit(), withdrawal())
    before, head = state_of(ledger.cache), ledger.store.head
    commands: list[AnyCommand] = [
        deposit("3.00", idempotency_key="k"),
        outcome(ledger.payment(1), "approved", Succeed()),
        withdrawal("1.00"),
        open_account("5.00"),
    ]

    decide_and_apply(ledger.begin(commands), commands)

    assert before == state_of(ledger.cache)
    assert head == ledger.store.head
    ledger.one(deposit("4.00", idempotency_key="k"))  # the key is still free for another request


def test_what_is_not_there_is_refused_by_name() -> None:
    """Neither the batch nor the cache has it."""
    batch = BatchView(AggregateCache(capacity=1), Head(0, b"", BEGINNING, 1, 0), now=BEGINNING, keys={})

    with pytest.raises(AccountNotFound) as no_account:
        batch.account(3)
    with pytest.raises(PaymentNotFound) as no_payment:
        batch.payment(4)

    assert (no_account.value.account_id, no_payment.value.payment_id) == (3, 4)
    assert batch.pending_minor(3) == 0
    assert batch.key_taken("user-3", "k") is None


def test_a_row_says_where_and_when_it_happened_and_why(ledger: PaperWriter) -> None:
    """Versions go on from the cached ones. An event that follows from another of the same decision names it."""
    batch = ledger.begin([withdrawal()])
    planned = [
        PlannedEvent("payment-9", PaymentParked(payment_id=9, series=1, reason="x")),
        PlannedEvent("account-1", FundsHeld(payment_id=9, currency="USD", amount_minor=4), follows="payment-9"),
        PlannedEvent("account-1", FundsHeld(payment_id=9, currency="USD", amount_minor=5), follows="account-1"),
    ]
    ledger.one(deposit())
    ledger.cache.payments["payment-9"] = replace(ledger.payment(1), payment_id=9)

    batch.apply(withdrawal(command_id="w", by="op"), Decision(planned=planned, answer=None))

    assert [(row.originator_id, row.originator_version, row.topic) for row in batch.rows] == [
        ("payment-9", 2, "payment.parked"),
        ("account-1", 2, "account.funds_held"),
        ("account-1", 3, "account.funds_held"),
    ]
    recorded = [decode(*row) for row in batch.rows]
    assert [event.cause for event in recorded] == ["RequestWithdrawal", "payment-9/2", "account-1/2"]
    assert {("w", "op", BEGINNING)} == {(event.command_id, event.by, event.at) for event in recorded}


def test_the_last_word_about_the_queue_counts(ledger: PaperWriter) -> None:
    """In one batch a payment may be queued, removed and queued again. The last change is the one that is written."""
    ledger.one(withdrawal())
    payment = ledger.payment()
    commands: list[AnyCommand] = [outcome(payment, "declined", Fail()), requeue(1, ask_first=False)]
    batch = ledger.begin(commands)

    decide_and_apply(batch, commands[:1])
    after_failing = (set(batch.dequeued), dict(batch.enqueued))
    decide_and_apply(batch, commands[1:])

    assert after_failing == ({1}, {})
    assert (batch.dequeued, list(batch.enqueued)) == (set(), [1])
    decide_and_apply(batch, [outcome(batch.payment(1), "declined", Fail())])
    assert (batch.dequeued, batch.enqueued) == ({1}, {})


def test_a_key_taken_in_a_batch_is_seen_in_the_batch_and_written_once(ledger: PaperWriter) -> None:
    """The second of two equal requests is a replay and takes no key."""
    commands: list[AnyCommand] = [deposit(idempotency_key="k"), deposit(idempotency_key="k")]
    batch = ledger.begin(commands)

    first, second = decide_and_apply(batch, commands)

    taken = batch.key_taken("user-1", "k")
    assert taken == IdempotencyRecord(
        subject_kind="payment",
        subject_id=1,
        idempotency=IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/200"),
    )
    assert batch.keys_taken == [taken]
    assert (first.replayed, second.replayed) == (False, True)


def test_a_key_that_the_store_knows_is_seen(ledger: PaperWriter) -> None:
    """The batch gets the records that the writer has looked up."""
    ledger.one(deposit(idempotency_key="k"))

    batch = ledger.begin([deposit(idempotency_key="k")])

    assert batch.key_taken("user-1", "k") == ledger.store.keys["user-1", "k"]
