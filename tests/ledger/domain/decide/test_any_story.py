"""Random sequences of commands, held to the rules that money always obeys."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.domain.commands import AnyCommand, Fail, FollowUp, InquireAfter, OpenAccount, Succeed
from ledger.domain.decide import decide
from ledger.domain.decision import QueueEntry
from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AdjustedAgainst,
    FundsHeld,
    GatewayAttempted,
    GatewayChanged,
    HoldReleased,
    InquiryName,
    LedgerRecovered,
    OutcomeName,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEnded,
    PaymentEvent,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
)
from ledger.domain.gateway_schedule import Schedule, queue_entry, schedule_after
from ledger.domain.identifiers import stream_id
from ledger.domain.money import BALANCE_MINOR_MAX, decimal_text
from ledger.domain.payment import Payment
from ledger.errors import Refusal
from ledger.store.log import Head
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from tests.support.ledgers.paper import (
    BEGINNING,
    PaperStore,
    PaperWriter,
    adjust,
    deposit,
    inquiry,
    open_account,
    outcome,
    requeue,
    resolve,
    withdrawal,
)
from tests.support.ledgers.paper_payments import INQUIRE, RETRY

Step = tuple[str, int, int, int]
WEIGHTS = {
    "open": 1,
    "deposit": 3,
    "withdrawal": 4,
    "again": 1,
    "call": 9,
    "late": 3,
    "inquiry": 4,
    "stale": 1,
    "requeue": 3,
    "resolve": 3,
    "adjust": 2,
    "other writer": 1,
}
"""The weight of each step in a story: enough calls for the requests, and enough faults after them."""

NAMES = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
NUMBERS = st.integers(0, 59)
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), NUMBERS, NUMBERS, NUMBERS), min_size=20, max_size=70)
CALLS: list[tuple[OutcomeName, FollowUp]] = [
    ("approved", Succeed()),
    ("approved", Succeed()),
    ("declined", Fail("declined")),
    ("turned_away", RETRY),
    ("unknown", RETRY),
    ("unknown", INQUIRE),
    ("declined", INQUIRE),
    ("unknown", Fail(unasked=True)),
    ("unknown", Fail()),
    ("declined", Fail()),
    ("approved", RETRY),
]
INQUIRIES: list[tuple[InquiryName, FollowUp]] = [
    ("approved", Succeed()),
    ("declined", Fail()),
    ("no_clear_answer", INQUIRE),
    ("no_clear_answer", Fail()),
    ("not_found", Fail(inquire_after_seconds=3600.0)),
    ("not_found", Fail(inquire_after_seconds=3600.0)),
    ("not_found", RETRY),
    ("declined", RETRY),
]
LATE: list[tuple[InquiryName, FollowUp]] = [
    ("approved", Succeed()),
    ("declined", Fail()),
    ("not_found", InquireAfter(86_400.0)),
    ("not_found", Fail()),
    ("no_clear_answer", INQUIRE),
]


def command_of(step: Step, ledger: PaperWriter) -> AnyCommand:
    """A command that a client, a gateway or an operator could send, sensible or not."""
    name, first, second, third = step
    account_id = first % max(1, ledger.store.head.next_account_id - 1) + 1
    requests = [event.data for event in ledger.store.events() if isinstance(event.data, PaymentRequested)]
    key = None if third % 2 else f"k{third % 8}"
    if name == "open":
        return open_account(str(second % 10), idempotency_key=key)
    if name in {"deposit", "withdrawal"} or not requests:
        amount, rate_ppm = str((second % 60 + 1) / 10), (0, 20_000, 1_000_000)[third % 3]
        request_payment = withdrawal if name == "withdrawal" else deposit
        return request_payment(amount, account_id=account_id, fee_rate_ppm=rate_ppm, idempotency_key=key)
    if name == "again":
        past = requests[first % len(requests)]
        request_payment = deposit if past.kind == "deposit" else withdrawal
        key = None if past.idempotency is None else past.idempotency.key
        amount = decimal_text(past.amount_minor, currency="USD")
        return request_payment(amount, account_id=past.account_id, idempotency_key=key)
    payment = ledger.payment(requests[first % len(requests)].payment_id)
    told, then = CALLS[second % len(CALLS)]
    answer, inquiry_then = INQUIRIES[second % len(INQUIRIES)]
    match name:
        case "call":
            return outcome(payment, told, then)
        case "late":
            series = third % payment.series + 1
            return outcome(payment, "approved" if second % 2 else told, then, series=series, attempt=third % 2 + 1)
        case "inquiry":
            if payment.late_inquiries is not None:
                answer, inquiry_then = LATE[second % len(LATE)]
                return inquiry(payment, answer, inquiry_then, late=True, inquiry=payment.late_inquiries + third % 2 + 1)
            return inquiry(payment, answer, inquiry_then)
        case "stale":
            return outcome(payment, told, then, seen_version=payment.version - 1)
        case _:
            return decision_of(step, payment)


def decision_of(step: Step, payment: Payment) -> AnyCommand:
    """A decision of an operator; of several contradictions it names the first."""
    name, _, second, third = step
    named = payment.unreconciled[0] if payment.unreconciled else None
    match name:
        case "requeue":
            return requeue(payment.payment_id, ask_first=bool(second % 2))
        case "adjust":
            against: AdjustedAgainst = "account" if second % 2 else "suspense"
            direction = (None, "in", "out")[third % 3]
            return adjust(payment.payment_id, against=against, direction=direction, gateway_key=named)
        case _:
            contradicted = named if payment.letter == "contradicted" else None
            return resolve(payment.payment_id, "success" if second % 2 else "failed", gateway_key=contradicted)


def told(ledger: PaperWriter, steps: Sequence[Step]) -> list[PaperWriter]:
    """Carry out a story by two writers that take turns. Check accounts and payments after every step."""
    writers = [ledger, PaperWriter(ledger.store, capacity=2)]
    for step in steps:
        ledger.store.clock += timedelta(seconds=step[3] % 3)
        if step[0] == "other writer":
            writers.reverse()
            continue
        before = ledger.store.log.copy()
        (answer,) = writers[0].write(command_of(step, ledger))
        assert not isinstance(answer, Refusal) or before == ledger.store.log
        check_accounts(ledger.store)
        check_payments(ledger)
    return writers


def check_accounts(store: PaperStore) -> None:
    """Every account agrees with its events, is never overdrawn, and never holds more than it owns."""
    posted: dict[str, int] = defaultdict(int)
    holds: dict[str, dict[int, int]] = defaultdict(dict)
    settled: set[int] = set()
    for event in store.events():
        stream, data = event.originator_id, event.data
        match data:
            case AccountOpened():
                posted[stream] += data.opening_minor
            case FundsHeld():
                assert data.payment_id not in holds[stream]
                holds[stream][data.payment_id] = data.amount_minor
            case HoldReleased():
                assert holds[stream].pop(data.payment_id) == data.amount_minor
            case AccountCredited():
                assert data.payment_id not in settled
                settled.add(data.payment_id)
                assert data.net_minor + data.fee_minor == data.gross_minor
                posted[stream] += data.net_minor
            case AccountDebited():
                assert data.payment_id not in settled
                settled.add(data.payment_id)
                assert data.gross_minor + data.fee_minor == data.total_minor
                assert holds[stream].pop(data.payment_id, 0) == data.held_minor
                assert data.held_minor in {0, data.total_minor}
                posted[stream] -= data.total_minor
            case AccountAdjusted():
                posted[stream] += data.amount_minor if data.direction == "in" else -data.amount_minor
            case (
                PaymentRequested()
                | GatewayAttempted()
                | PaymentInquired()
                | PaymentSucceeded()
                | PaymentFailed()
                | PaymentParked()
                | PaymentRequeued()
                | PaymentContradicted()
                | PaymentResolved()
                | PaymentAdjusted()
                | LedgerRecovered()
                | GatewayChanged()
            ):
                continue
            case never:
                assert_never(never)
        assert 0 <= sum(holds[stream].values()) <= posted[stream] <= BALANCE_MINOR_MAX
    ledger = PaperWriter(store)
    for stream, posted_minor in posted.items():
        account, held_minor = ledger.account(stream_id(stream)), sum(holds[stream].values())
        assert (posted_minor, held_minor) == (account.posted_minor, account.held_minor)
        assert account.available_minor == posted_minor - held_minor >= 0


def check_payments(ledger: PaperWriter) -> None:
    """Every payment has at most one end, is queued until then, and moves its money once if it succeeds."""
    store = ledger.store
    moved = {e.data.payment_id for e in store.events() if isinstance(e.data, AccountCredited | AccountDebited)}
    end: dict[int, str | None] = {}
    for event in store.events():
        match event.data:
            case PaymentRequested(payment_id=payment_id):
                assert payment_id not in end
                end[payment_id] = None
            case PaymentRequeued(payment_id=payment_id):
                assert end[payment_id] == "failed"
                end[payment_id] = None
            case PaymentEnded(payment_id=payment_id) as ended:
                reconciled = ended.ended_by == "reconciliation"
                assert end[payment_id] == ("failed" if reconciled else None)
                end[payment_id] = "succeeded" if isinstance(ended, PaymentSucceeded) else "failed"
            case _:
                pass
    assert {payment_id for payment_id, how in end.items() if how == "succeeded"} == moved
    asked_late = {each for each, entry in store.queue.items() if entry.action == "inquire_late"}
    assert {payment_id for payment_id, how in end.items() if how is None} == set(store.queue) - asked_late
    assert {end[payment_id] for payment_id in asked_late} <= {"failed"}
    for payment_id, how in end.items():
        payment = ledger.payment(payment_id)
        assert how == (payment.state if payment.ended else None)
        if entry := store.queue.get(payment_id):
            assert entry == entry_by_events(store, payment, decided=entry)


def entry_by_events(store: PaperStore, payment: Payment, *, decided: QueueEntry) -> QueueEntry:
    """A payment's queue entry, computed from its events. Fields that no event stores come from `decided`."""
    schedule: Schedule | None = None
    for recorded in store.events(payment.id):
        schedule = schedule_after(schedule, cast("Recorded[PaymentEvent]", recorded))
    assert schedule is not None
    assert schedule.version <= decided.payment_version <= payment.version
    assert bool(decided.inquiries) == bool(schedule.inquiries)
    late = schedule.action == "inquire_late"
    assert not late or decided.inquiries == schedule.inquiries
    by_events = queue_entry(payment, schedule, otherwise_due_at=decided.due_at)
    return replace(
        by_events,
        due_at=decided.due_at if late else by_events.due_at,
        payment_version=decided.payment_version,
        inquiries=decided.inquiries,
        trace_context=decided.trace_context,
    )


@settings(deadline=None, max_examples=200)
@given(steps=STEPS)
def test_whatever_happens_no_money_is_lost_doubled_or_invented(steps: list[Step]) -> None:
    """Check balances, holds, ends and the queue after every step; versions and caches at the end."""
    store = PaperStore()
    ledger = PaperWriter(store)
    ledger.opened("10.00")

    writers = told(ledger, steps)

    versions: dict[str, int] = defaultdict(int)
    for row in store.log:
        versions[row.originator_id] += 1
        assert versions[row.originator_id] == row.originator_version
    assert len(store.log) == store.head.position
    for writer in writers:
        writer.begin()
        for account in writer.cache.accounts.values():
            assert account == ledger.account(account.account_id)
            assert store.pending_minor(account.account_id) == writer.cache.pending_minor[account.id]
        for payment in writer.cache.payments.values():
            assert payment == ledger.payment(payment.payment_id)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_one_batch_of_many_commands_is_as_many_batches_of_one(steps: list[Step]) -> None:
    """Each command sees the ones before it, so the size of a batch does not matter."""
    one_by_one, together = PaperWriter(), PaperWriter()
    commands: list[AnyCommand] = [open_account("10.00")]
    one_by_one.write(*commands)
    for step in steps:
        commands.append(command_of(step, one_by_one))
        one_by_one.write(commands[-1])

    together.write(*commands)

    assert one_by_one.store.log == together.store.log
    assert one_by_one.store.queue == together.store.queue
    assert one_by_one.store.keys == together.store.keys
    assert one_by_one.store.head == together.store.head


def test_a_decision_changes_nothing_by_itself() -> None:
    """The caller applies a decision, not `decide`."""
    head = Head(0, b"", BEGINNING, 1, 0)
    batch = BatchView(AggregateCache(capacity=10), head, now=BEGINNING, keys={})
    command: OpenAccount = open_account("10.00", idempotency_key="k")

    first, second = decide(command, batch), decide(command, batch)

    assert first == second
    assert (batch.rows, batch.keys_taken, batch.next_account_id) == ([], [], 1)
