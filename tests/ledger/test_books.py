"""The books in memory: what a batch sees, what is kept of it, what is forgotten, and what others have written."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.books import _PENDING_TOPICS as PENDING_TOPICS
from ledger.books import SNAPSHOT_EVERY, BatchBooks, Books, pending_change, streams_of
from ledger.commands import AnyCommand, Fail, InquireAfter, RetryAfter, Succeed
from ledger.decisions import Decision, Happening, KeyTaken
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.events import (
    EVENT_BY_TOPIC,
    AccountCredited,
    FundsHeld,
    IdempotencyKey,
    PaymentEnded,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.log import Head, Row
from ledger.mapper import SNAPSHOT_TOPIC, decode, decode_snapshot
from tests.ledger.paper_ledger import (
    BEGINNING,
    PaperStore,
    PaperWriter,
    decide_and_apply,
    deposit,
    inquiry,
    open_account,
    outcome,
    requeue,
    resolve,
    withdrawal,
)

INQUIRE = InquireAfter(5.0)


@pytest.fixture
def ledger() -> PaperWriter:
    """A ledger with account 1, which holds ten dollars."""
    writer = PaperWriter()
    writer.opened("10.00")
    return writer


def state_of(books: Books) -> tuple[Any, ...]:
    """All that books hold."""
    return (list(books.accounts.items()), list(books.payments.items()), dict(books.pending_minor)), books.position


# --- a batch ---------------------------------------------------------------------------------------------------------


def test_a_batch_sees_its_own_accounts_and_payments_before_the_books_do(ledger: PaperWriter) -> None:
    """Each command sees the ones before it; the books see them when the batch is committed."""
    commands: list[AnyCommand] = [open_account("7.00"), withdrawal("5.00"), deposit("1.00", account_id=2)]
    batch = ledger.begin(commands)

    decide_and_apply(batch, commands)

    assert (batch.account(1).held_minor, ledger.books.accounts["account-1"].held_minor) == (510, 0)
    assert batch.account(2).posted_minor == 700
    assert (batch.payment(1).kind, batch.payment(1026).kind) == ("withdraw", "deposit")
    assert "account-2" not in ledger.books.accounts
    assert ledger.books.payments == {}
    assert (batch.next_account_id, batch.next_payment_sequence) == (3, 2)


def test_a_failing_batch_leaves_no_trace(ledger: PaperWriter) -> None:
    """The books are as before in everything, also in the order in which they forget; so is what the batch was given."""
    ledger.write(deposit(), withdrawal())
    before, head = state_of(ledger.books), ledger.store.head
    commands: list[AnyCommand] = [
        deposit("3.00", idempotency_key="k"),
        outcome(ledger.payment(1), "approved", Succeed()),
        withdrawal("1.00"),
        open_account("5.00"),
    ]

    decide_and_apply(ledger.begin(commands), commands)

    assert before == state_of(ledger.books)
    assert head == ledger.store.head
    ledger.one(deposit("4.00", idempotency_key="k"))  # the key is still free for another request


def test_what_is_not_there_is_refused_by_name() -> None:
    """Neither the batch nor the books know it."""
    batch = BatchBooks(Books(capacity=1), Head(0, b"", BEGINNING, 1, 0), at=BEGINNING, keys={})

    with pytest.raises(AccountNotFound) as no_account:
        batch.account(3)
    with pytest.raises(PaymentNotFound) as no_payment:
        batch.payment(4)

    assert (no_account.value.account_id, no_payment.value.payment_id) == (3, 4)
    assert batch.pending_minor(3) == 0
    assert batch.key_taken("user-3", "k") is None


def test_a_row_says_where_and_when_it_happened_and_why(ledger: PaperWriter) -> None:
    """Versions go on from what is known; what follows from an event of the same decision names that event."""
    batch = ledger.begin([withdrawal()])
    happenings = [
        Happening("payment-9", PaymentParked(payment_id=9, series=1, reason="x")),
        Happening("account-1", FundsHeld(payment_id=9, currency="USD", amount_minor=4), follows="payment-9"),
        Happening("account-1", FundsHeld(payment_id=9, currency="USD", amount_minor=5), follows="account-1"),
    ]
    ledger.one(deposit())
    ledger.books.payments["payment-9"] = replace(ledger.payment(1), payment_id=9)

    batch.apply(withdrawal(command_id="w", by="op"), Decision(happenings=happenings, answer=None))

    assert [(row.originator_id, row.originator_version, row.topic) for row in batch.rows] == [
        ("payment-9", 2, "payment.parked"),
        ("account-1", 2, "account.funds_held"),
        ("account-1", 3, "account.funds_held"),
    ]
    recorded = [decode(*row) for row in batch.rows]
    assert [event.cause for event in recorded] == ["RequestWithdrawal", "payment-9/2", "account-1/2"]
    assert {("w", "op", BEGINNING)} == {(event.command_id, event.by, event.at) for event in recorded}


def test_the_last_word_about_the_queue_counts(ledger: PaperWriter) -> None:
    """In one batch a payment may be queued, taken off and queued again; never both."""
    ledger.one(withdrawal())
    payment = ledger.payment()
    commands: list[AnyCommand] = [outcome(payment, "declined", Fail()), requeue(1)]
    batch = ledger.begin(commands)

    decide_and_apply(batch, commands[:1])
    after_failing = (set(batch.dequeued), dict(batch.enqueued))
    decide_and_apply(batch, commands[1:])

    assert after_failing == ({1}, {})
    assert (batch.dequeued, list(batch.enqueued)) == (set(), [1])
    decide_and_apply(batch, [outcome(batch.payment(1), "declined", Fail())])
    assert (batch.dequeued, batch.enqueued) == ({1}, {})


def test_a_key_taken_in_a_batch_is_seen_in_the_batch_and_written_once(ledger: PaperWriter) -> None:
    """The second of two equal requests is a replay, and takes no key."""
    commands: list[AnyCommand] = [deposit(idempotency_key="k"), deposit(idempotency_key="k")]
    batch = ledger.begin(commands)

    first, second = decide_and_apply(batch, commands)

    taken = batch.key_taken("user-1", "k")
    assert taken == KeyTaken(
        subject_kind="payment",
        subject_id=1,
        idempotency=IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/200"),
    )
    assert batch.keys_taken == [taken]
    assert (first.replayed, second.replayed) == (False, True)


def test_a_key_that_the_store_knows_is_seen(ledger: PaperWriter) -> None:
    """As the writer looked it up."""
    ledger.one(deposit(idempotency_key="k"))

    batch = ledger.begin([deposit(idempotency_key="k")])

    assert batch.key_taken("user-1", "k") == ledger.store.keys["user-1", "k"]


# --- keeping and forgetting ------------------------------------------------------------------------------------------


def test_a_committed_batch_becomes_part_of_the_books(ledger: PaperWriter) -> None:
    """Accounts, payments, what is on its way, and where the books now stand."""
    ledger.write(deposit("2.00"), withdrawal("1.00"), open_account("3.00"))

    assert ledger.books.accounts == {"account-1": ledger.account(1), "account-2": ledger.account(2)}
    assert ledger.books.payments == {"payment-1": ledger.payment(1), "payment-1025": ledger.payment(1025)}
    assert ledger.books.pending_minor == {"account-1": 196, "account-2": 0}
    assert (ledger.books.position, ledger.books.digest) == (ledger.store.head.position, ledger.store.head.digest)


def test_the_books_forget_what_was_changed_longest_ago() -> None:
    """At most so many accounts and as many payments stay; with an account goes what is on its way to it."""
    ledger = PaperWriter(capacity=2)
    ledger.write(*[open_account("10.00") for _ in range(3)])
    assert list(ledger.books.accounts) == ["account-2", "account-3"]

    ledger.write(withdrawal(account_id=2), deposit(account_id=3))
    ledger.write(withdrawal(account_id=1))

    assert list(ledger.books.accounts) == ["account-2", "account-1"]
    assert list(ledger.books.payments) == ["payment-1027", "payment-2049"]
    assert ledger.books.pending_minor == {"account-2": 0, "account-1": 0}


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_the_books_never_hold_more_than_they_may(capacity: int) -> None:
    """Whatever comes; a batch may need more while it is decided, and is decided right all the same."""
    ledger = PaperWriter(capacity=capacity)
    ledger.write(*[open_account("10.00") for _ in range(4)])

    for _ in range(3):
        ledger.write(*[withdrawal("1.00", account_id=account_id) for account_id in (1, 2, 3, 4)])
        assert len(ledger.books.accounts) <= capacity
        assert len(ledger.books.payments) <= capacity
        assert set(ledger.books.pending_minor) == set(ledger.books.accounts)

    assert [ledger.account(account_id).held_minor for account_id in (1, 2, 3, 4)] == [306] * 4


def test_what_was_forgotten_is_learnt_again_as_it_was() -> None:
    """With what is on its way to it."""
    ledger = PaperWriter(capacity=1)
    ledger.opened("10.00")
    ledger.write(deposit("2.00"), withdrawal("1.00"))
    ledger.opened("1.00")
    assert "account-1" not in ledger.books.accounts

    batch = ledger.begin([deposit()])

    assert batch.account(1) == ledger.account(1)
    assert batch.pending_minor(1) == 196


def test_books_can_forget_everything(ledger: PaperWriter) -> None:
    """When it cannot be known whether they are true."""
    ledger.write(deposit())

    ledger.books.forget()

    assert state_of(ledger.books)[0] == ([], [], {})


# --- learning --------------------------------------------------------------------------------------------------------


def test_streams_are_learnt_in_whatever_order_their_rows_come(ledger: PaperWriter) -> None:
    """A database promises no order without being asked for one; two streams may come mixed."""
    ledger.write(*[withdrawal("0.10") for _ in range(15)])
    books = Books(capacity=10)

    books.learn(list(reversed(ledger.store.log)), {1: 0})

    assert books.accounts == {"account-1": ledger.account()}
    assert len(books.payments) == 15
    assert books.payments["payment-1"] == ledger.payment(1)


def test_an_account_is_learnt_from_its_snapshot_and_the_events_after_it(ledger: PaperWriter) -> None:
    """So one with 100,000 events is as quick as one with ten; what it was before the snapshot is not looked at."""
    ledger.write(*[withdrawal("0.01") for _ in range(120)])
    snapshot, *_ = ledger.store.snapshots
    after = [row for row in ledger.store.log if row.originator_id == "account-1"][snapshot.originator_version :]
    books = Books(capacity=10)

    books.learn([*reversed(after), snapshot], {})

    assert books.accounts["account-1"] == ledger.account()
    assert books.pending_minor == {"account-1": 0}


def test_an_account_may_be_learnt_from_its_snapshot_alone(ledger: PaperWriter) -> None:
    """When nothing has happened to it since."""
    ledger.write(*[withdrawal("0.01") for _ in range(120)])
    snapshot, *_ = ledger.store.snapshots
    books = Books(capacity=10)

    books.learn([snapshot], {})

    assert books.accounts["account-1"].version == snapshot.originator_version
    assert books.accounts["account-1"] == decode_snapshot(snapshot.state)


def test_a_learnt_account_knows_what_is_on_its_way(ledger: PaperWriter) -> None:
    """As the queue tells; nothing where the queue tells nothing."""
    ledger.opened("1.00")
    books = Books(capacity=10)

    books.learn(ledger.store.log, {1: 500})

    assert books.pending_minor == {"account-1": 500, "account-2": 0}


# --- what others have written ----------------------------------------------------------------------------------------


def test_events_of_others_change_the_accounts_that_are_known(ledger: PaperWriter) -> None:
    """An account in memory goes along; one that is not stays out of it."""
    ledger.one(withdrawal("1.00"))
    other = PaperWriter(ledger.store)
    other.told(1, "approved", Succeed())
    other.opened("5.00")
    other.one(withdrawal("1.00", account_id=2))

    ledger.begin()

    assert ledger.books.accounts == {"account-1": ledger.account(1)}


def test_a_payment_that_others_go_on_with_is_forgotten(ledger: PaperWriter) -> None:
    """It is read again where it is needed, and then as they have left it."""
    ledger.one(deposit("1.00", idempotency_key="k"))
    other = PaperWriter(ledger.store)
    other.told(1, "approved", Succeed())

    ledger.begin()
    forgotten = "payment-1" not in ledger.books.payments
    replayed = ledger.one(deposit("1.00", idempotency_key="k"))

    assert forgotten
    assert replayed.replayed
    assert ledger.books.payments["payment-1"].state == "succeeded"


def test_who_settles_knows_the_payments_that_others_have_accepted(ledger: PaperWriter) -> None:
    """He need not read them when their outcomes come; who only accepts payments has no use for those of others."""
    settling = PaperWriter(ledger.store, settles=True)
    settling.one(deposit("1.00"))
    PaperWriter(ledger.store).one(withdrawal("1.00"))

    settling.begin()
    ledger.begin()

    assert settling.books.payments["payment-1025"] == ledger.payment(1025)
    assert ledger.books.payments == {}


def test_what_is_on_its_way_by_others_counts(ledger: PaperWriter) -> None:
    """A payment that this writer never met is still on its way to an account that it knows."""
    other = PaperWriter(ledger.store)
    other.write(deposit("2.00"), deposit("3.00"))

    ledger.begin()
    both = dict(ledger.books.pending_minor)
    other.told(1, "approved", Succeed())
    ledger.begin()

    assert both == {"account-1": 490}
    assert ledger.books.pending_minor == {"account-1": 294}


def test_an_event_that_is_known_already_is_not_applied_twice(ledger: PaperWriter) -> None:
    """An account learnt as of the head is there when the rows up to that head are read."""
    ledger.one(withdrawal("1.00"))
    rows = [(position, *row) for position, row in enumerate(ledger.store.log, start=1)]
    before = state_of(ledger.books)

    ledger.books.absorb(rows)

    assert before == state_of(ledger.books)


def test_a_gap_in_a_stream_is_a_mistake_of_ours(ledger: PaperWriter) -> None:
    """Positions have no gaps, so a version that is missing was never read; the books must not go on."""
    other = PaperWriter(ledger.store)
    other.write(withdrawal("1.00"), withdrawal("1.00"))
    position, row = len(ledger.store.log), ledger.store.log[-1]

    with pytest.raises(AssertionError, match="account-1"):
        ledger.books.absorb([(position, *row)])


def test_an_event_that_nobody_asks_about_is_not_even_read(ledger: PaperWriter) -> None:
    """Most of what others write is about accounts that this writer does not know."""
    unreadable = Row("account-99", 2, "account.funds_held", b"not looked at")

    ledger.books.absorb([(9, *unreadable)])

    assert "account-99" not in ledger.books.accounts


# --- deposits on their way -------------------------------------------------------------------------------------------


def test_what_is_on_its_way_is_exact_through_a_payments_whole_life(ledger: PaperWriter) -> None:
    """Counted from the request to the end, again from the requeue to the end, and not when reconciled."""

    def on_its_way() -> int:
        ledger.begin()
        assert ledger.books.pending_minor["account-1"] == ledger.store.pending_minor(1)
        return ledger.books.pending_minor["account-1"]

    seen = [on_its_way()]
    ledger.one(deposit("2.00"))
    seen.append(on_its_way())
    ledger.told(1, "turned_away", RetryAfter(1))
    seen.append(on_its_way())
    ledger.told(1, "declined", Fail())
    seen.append(on_its_way())
    ledger.requeued(1)
    seen.append(on_its_way())
    ledger.told(1, "unknown", INQUIRE)
    ledger.inquired(1, "no_clear_answer", INQUIRE)
    seen.append(on_its_way())
    ledger.resolved(1, "failed")
    seen.append(on_its_way())
    ledger.told(1, "approved", Succeed(), series=1, attempt=1)
    seen.append(on_its_way())
    ledger.resolved(1, "success")
    seen.append(on_its_way())

    assert seen == [0, 196, 196, 0, 196, 196, 0, 0, 0]
    assert ledger.account().posted_minor == 1196


@pytest.mark.parametrize("together", [True, False])
def test_deposits_settled_by_inquiry_resolution_or_a_call_are_no_longer_on_their_way(
    ledger: PaperWriter,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """Whoever tells of the end, and also when a whole life lies in one batch."""
    ledger.write(deposit("1.00"), deposit("2.00"), deposit("4.00"), withdrawal("1.00"))
    for payment_id in (1, 1025):
        ledger.told(payment_id, "unknown", INQUIRE)
    ledger.inquired(1025, "no_clear_answer", INQUIRE)
    assert ledger.books.pending_minor == {"account-1": 98 + 196 + 392}
    ends: list[AnyCommand] = [
        inquiry(ledger.payment(1), "approved", Succeed()),
        resolve(1025, "success"),
        outcome(ledger.payment(2049), "approved", Succeed()),
    ]

    for batch in [ends] if together else [[end] for end in ends]:
        ledger.write(*batch)

    assert ledger.books.pending_minor == {"account-1": 0}
    assert ledger.account().posted_minor == 1000 + 98 + 196 + 392


def test_a_withdrawal_is_never_on_its_way_to_an_account(ledger: PaperWriter) -> None:
    """It goes the other way."""
    ledger.write(withdrawal("1.00"), withdrawal("99.00"))
    ledger.told(1, "declined", Fail())
    ledger.requeued(1)
    ledger.told(1, "approved", Succeed())

    assert ledger.books.pending_minor == {"account-1": 0}


def ended(event_class: type[PaymentEnded], **facts: Any) -> PaymentEnded:
    """An end of a deposit of 200.00 with a fee of 4.00."""
    amounts = {"amount_minor": 20_000, "fee_minor": 400, "currency": "USD", "series": 1}
    return event_class(**{"payment_id": 9, "account_id": 7, "kind": "deposit", **amounts, **facts})


def requeued(kind: Any) -> PaymentRequeued:
    """A payment of 200.00 with a fee of 4.00, queued again."""
    amounts = {"amount_minor": 20_000, "fee_minor": 400, "currency": "USD", "series": 2}
    return PaymentRequeued(payment_id=9, account_id=7, kind=kind, gateway_key="k", why="w", **amounts)  # type: ignore[arg-type]


def requested(kind: Any) -> PaymentRequested:
    """A payment of 200.00 with a fee of 4.00."""
    return PaymentRequested(
        payment_id=9,
        account_id=7,
        kind=kind,
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
    )


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (requested("deposit"), (7, 19_600)),
        (requested("withdraw"), (0, 0)),
        (requeued("deposit"), (7, 19_600)),
        (requeued("withdraw"), (0, 0)),
        (ended(PaymentSucceeded, ended_by="gateway"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="inquiry"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="resolution"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="reconciliation"), (0, 0)),
        (ended(PaymentFailed, ended_by="gateway", reason="x"), (7, -19_600)),
        (ended(PaymentFailed, ended_by="inquiry", reason="x"), (7, -19_600)),
        (ended(PaymentFailed, ended_by="resolution", reason="x"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="gateway", kind="withdraw"), (0, 0)),
        (ended(PaymentFailed, ended_by="request", kind="withdraw", reason="insufficient_funds"), (0, 0)),
        (PaymentParked(payment_id=9, series=1, reason="x"), (0, 0)),
        (AccountCredited(payment_id=9, currency="USD", gross_minor=9, fee_minor=1, net_minor=8), (0, 0)),
    ],
)
def test_an_event_changes_what_is_on_its_way(event: Any, change: tuple[int, int]) -> None:
    """By account and by how much; a reconciled deposit had failed and was no longer counted."""
    assert change == pending_change(event)


def test_the_topics_that_are_read_for_strangers_are_those_that_can_change_what_is_on_its_way() -> None:
    """One forgotten here would let an account be overfilled."""
    changing = (PaymentRequested, PaymentRequeued, PaymentEnded)

    assert {topic for topic, cls in EVENT_BY_TOPIC.items() if issubclass(cls, changing)} == PENDING_TOPICS


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_an_account_gets_a_snapshot_when_it_passes_a_round_version(ledger: PaperWriter) -> None:
    """As the batch leaves it, one for each batch that passes one; each is the account folded from its events."""
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
    """Payments are short; two accounts that pass a round version in one batch have one each, in order."""
    ledger.opened("10.00")
    ledger.write(*[withdrawal("0.01", account_id=1 + n % 2) for n in range(220)])

    snapshots = [(row.originator_id, row.originator_version) for row in ledger.store.snapshots]

    assert snapshots == [("account-1", 111), ("account-2", 111)]


# --- what a batch needs ----------------------------------------------------------------------------------------------


def test_commands_tell_which_streams_they_need(ledger: PaperWriter) -> None:
    """By the accounts and payments that they name, and by what was made under their keys."""
    ledger.one(deposit())
    report = outcome(ledger.payment(), "approved", Succeed())
    key = IdempotencyKey(scope="s", key="k", fingerprint="f")
    keys = [
        KeyTaken(subject_kind="account", subject_id=8, idempotency=key),
        KeyTaken(subject_kind="payment", subject_id=9, idempotency=key),
    ]

    assert streams_of([], []) == set()
    assert streams_of([open_account()], keys) == {"account-8", "payment-9"}
    assert streams_of([deposit(account_id=3), withdrawal(account_id=4)], []) == {"account-3", "account-4"}
    assert streams_of([report], []) == {"account-1", "payment-1"}
    assert streams_of([requeue(5), resolve(6, "failed")], []) == {"payment-5", "payment-6"}


# --- several writers -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=30))
def test_writers_that_take_turns_have_the_same_books(turns: list[tuple[int, int, bool]]) -> None:
    """Whether a writer wrote an event itself, read it as it came, or learnt the stream later: the same state."""
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
        for account in writer.books.accounts.values():
            assert account == writer.account(account.account_id)
            assert store.pending_minor(account.account_id) == writer.books.pending_minor[account.id]
        for payment in writer.books.payments.values():
            assert payment == writer.payment(payment.payment_id)
