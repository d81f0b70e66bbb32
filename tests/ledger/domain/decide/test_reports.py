"""The gateway's outcomes and answers to inquiries: events of payments and accounts, and the gateway queue."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import asdict

from ledger.domain.commands import Fail, FollowUp, InquireAfter, PaymentStanding, RetryAfter, Succeed
from ledger.domain.decide import decide
from ledger.domain.events import AccountCredited, AccountDebited, HoldReleased, InquiryName, OutcomeName
from ledger.errors import OutcomeImpossible, PaymentNotFound, StaleCommand
from tests.support.ledgers.paper import BEGINNING, PaperWriter, deposit, inquiry, key, outcome, requeue, withdrawal
from tests.support.ledgers.paper_payments import INQUIRE, RETRY, Posted, balance, contradicted, declined, in_doubt


@pytest.mark.parametrize(
    ("request_payment", "told", "then", "topics", "after"),
    [
        (deposit, "approved", Succeed(), ["payment.succeeded", "account.credited"], (1196, 0)),
        (withdrawal, "approved", Succeed(), ["payment.succeeded", "account.debited"], (796, 0)),
        (deposit, "declined", Fail(), ["payment.failed"], (1000, 0)),
        (withdrawal, "declined", Fail(), ["payment.failed", "account.hold_released"], (1000, 0)),
        (deposit, "turned_away", RETRY, [], (1000, 0)),
        (withdrawal, "turned_away", RETRY, [], (1000, 204)),
        (withdrawal, "unknown", RETRY, [], (1000, 204)),
        (withdrawal, "unknown", INQUIRE, [], (1000, 204)),
        (withdrawal, "unknown", Fail(unasked=True), ["payment.failed", "account.hold_released"], (1000, 0)),
    ],
)
def test_the_gateways_word_settles_frees_or_waits(
    ledger: PaperWriter, request_payment: Any, told: OutcomeName, then: FollowUp, topics: list[str], after: Posted
) -> None:
    """One decision has the payment's end and the account's event, which names that end as its cause."""
    payment = ledger.requested(request_payment("2.00"))
    before = len(ledger.store.log)

    standing = ledger.one(outcome(payment, told, then))

    events = ledger.store.events()[before:]
    assert ["payment.gateway_attempted", *topics] == [event.data.TOPIC for event in events]
    assert after == balance(ledger)
    state = {"payment.succeeded": "succeeded", "payment.failed": "failed"}[topics[0]] if topics else "processing"
    assert standing == PaymentStanding(payment_id=1, state=state, version=2 + bool(topics))
    assert bool(topics) is (ledger.store.queue == {})
    for event in events:
        follows = event.originator_id == "account-1"
        assert event.cause == (f"payment-1/{standing.version}" if follows else "RecordGatewayOutcome")


def test_a_settled_deposit_is_credited_less_its_fee(ledger: PaperWriter) -> None:
    """The event has all amounts that a journal needs."""
    payment = ledger.requested(deposit("200.00"))

    ledger.told(payment.payment_id, "approved", Succeed())

    assert ledger.store.events("account-1")[-1].data == AccountCredited(
        payment_id=1, currency="USD", gross_minor=20_000, fee_minor=400, net_minor=19_600
    )


def test_a_settled_withdrawal_uses_its_hold_up(ledger: PaperWriter) -> None:
    """The event has all amounts that a journal needs."""
    ledger.told(ledger.requested(withdrawal("5.00")).payment_id, "approved", Succeed())

    assert ledger.store.events("account-1")[-1].data == AccountDebited(
        payment_id=1, currency="USD", gross_minor=500, fee_minor=10, total_minor=510, held_minor=510
    )


def test_a_failed_withdrawal_gives_its_hold_back(ledger: PaperWriter) -> None:
    """The release has the amount of the hold."""
    declined(ledger, withdrawal("5.00"))

    assert ledger.store.events("account-1")[-1].data == HoldReleased(payment_id=1, currency="USD", amount_minor=510)


@pytest.mark.parametrize(
    ("told", "then", "action", "delay_seconds", "unknown"),
    [
        ("turned_away", RETRY, "pay", 1.5, False),
        ("unknown", RETRY, "pay", 1.5, True),
        ("unknown", INQUIRE, "inquire", 5.0, True),
        ("turned_away", INQUIRE, "inquire", 5.0, False),
    ],
)
def test_what_comes_next_is_queued_on_the_databases_clock(
    ledger: PaperWriter,
    told: OutcomeName,
    then: FollowUp,
    action: str,
    delay_seconds: float,
    unknown: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Another call or an inquiry, under the same gateway key, with all that a worker needs."""
    payment = ledger.requested(withdrawal("2.00"))
    ledger.store.clock += timedelta(seconds=7)

    ledger.one(outcome(payment, told, then))

    assert asdict(ledger.store.queue[1]) == {
        "payment_id": 1,
        "account_id": 1,
        "kind": "withdraw",
        "amount_minor": 200,
        "fee_minor": 4,
        "currency": "USD",
        "series": 1,
        "gateway_key": key(),
        "attempt": 1,
        "action": action,
        "inquiries": 0,
        "unknown": unknown,
        "payment_version": 2,
        "due_at": BEGINNING + timedelta(seconds=7 + delay_seconds),
        "trace_context": None,
    }


def test_an_unknown_attempt_is_not_forgotten_with_the_next_one(ledger: PaperWriter) -> None:
    """The worker needs to know about it when the last attempt is turned away."""
    ledger.requested(deposit())

    ledger.told(1, "unknown", RETRY)
    ledger.told(1, "turned_away", RETRY)

    assert (ledger.store.queue[1].unknown, ledger.store.queue[1].attempt) == (True, 2)


def test_the_batchs_time_is_never_before_the_last_one(ledger: PaperWriter) -> None:
    """A database's clock that was set back does not turn the log's time back."""
    ledger.store.clock = BEGINNING + timedelta(hours=1)
    ledger.one(deposit())
    ledger.store.clock = BEGINNING

    ledger.one(deposit())

    assert ledger.store.events()[-1].at == BEGINNING + timedelta(hours=1)


def test_schedules_count_from_the_clock_and_not_from_the_log(ledger: PaperWriter) -> None:
    """After the database's clock was set back, the log's time stands still. Calls and inquiries do not wait for it."""
    ledger.store.clock = BEGINNING + timedelta(hours=1)
    ledger.one(deposit())
    ledger.store.clock = BEGINNING

    first = ledger.requested(deposit())
    due = [ledger.store.queue[first.payment_id].due_at]
    ledger.told(first.payment_id, "unknown", RetryAfter(2.0))
    due.append(ledger.store.queue[first.payment_id].due_at)
    ledger.told(first.payment_id, "unknown", InquireAfter(5.0))
    due.append(ledger.store.queue[first.payment_id].due_at)
    ledger.inquired(first.payment_id, "no_clear_answer", InquireAfter(9.0))
    due.append(ledger.store.queue[first.payment_id].due_at)
    failed = ledger.requested(deposit())
    ledger.told(failed.payment_id, "declined", Fail("no"))
    ledger.requeued(failed.payment_id)
    due.append(ledger.store.queue[failed.payment_id].due_at)

    assert due == [BEGINNING + timedelta(seconds=seconds) for seconds in (0, 2, 5, 9, 0)]
    attempts = [recorded.data for recorded in ledger.store.events(first.id)[1:3]]
    assert [getattr(attempts[0], "retry_at", None), getattr(attempts[1], "inquire_at", None)] == due[1:3]


@pytest.mark.parametrize(
    ("answer", "then", "topics", "after"),
    [
        ("approved", Succeed(), ["payment.inquired", "payment.succeeded", "account.debited"], (796, 0)),
        ("declined", Fail(), ["payment.inquired", "payment.failed", "account.hold_released"], (1000, 0)),
        ("no_clear_answer", INQUIRE, ["payment.inquired", "payment.parked"], (1000, 204)),
    ],
)
def test_an_inquiry_settles_frees_or_parks(
    ledger: PaperWriter, answer: InquiryName, then: FollowUp, topics: list[str], after: Posted
) -> None:
    """While a payment is in doubt, its hold stays."""
    ledger.requested(withdrawal("2.00"))
    ledger.told(1, "unknown", INQUIRE)
    before = len(ledger.store.log)

    payment = ledger.inquired(1, answer, then)

    assert topics == [event.data.TOPIC for event in ledger.store.events()[before:]]
    assert after == balance(ledger)
    assert payment.ended is (ledger.store.queue == {})


def test_a_payment_in_doubt_is_asked_about_again_without_an_event(ledger: PaperWriter) -> None:
    """The queue counts the inquiries and has the time of the next one. The log does not grow."""
    in_doubt(ledger, deposit())
    before = len(ledger.store.log)
    ledger.store.clock += timedelta(minutes=1)

    ledger.one(inquiry(ledger.payment(), "no_clear_answer", InquireAfter(60), inquiry=2))

    assert len(ledger.store.log) == before
    entry = ledger.store.queue[1]
    assert (entry.action, entry.inquiries, entry.attempt, entry.unknown) == ("inquire", 2, 1, True)
    assert (entry.payment_version, entry.due_at) == (4, BEGINNING + timedelta(minutes=2))


def test_a_late_success_ends_a_payment_in_doubt(ledger: PaperWriter) -> None:
    """A call that had timed out was answered after all. No inquiry is left in the queue."""
    in_doubt(ledger, withdrawal("2.00"))

    payment = ledger.told(1, "approved", Succeed(), attempt=1)

    assert payment.state == "succeeded"
    assert balance(ledger) == (796, 0)
    assert ledger.store.queue == {}


def test_a_late_answer_that_changes_nothing_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """The entry of the attempt under way, with its lease, is not overwritten."""
    ledger.requested(deposit())
    ledger.told(1, "unknown", RETRY)
    entry = ledger.store.queue[1]
    ledger.store.clock += timedelta(seconds=9)

    standing = ledger.one(outcome(ledger.payment(), "declined", Fail(), attempt=1))

    assert standing == PaymentStanding(payment_id=1, state="processing", version=2)
    assert ledger.store.queue == {1: entry}


def test_a_late_answer_about_an_earlier_series_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """Also when its attempt has the number of the next attempt in the current series."""
    declined(ledger, deposit())
    ledger.requeued(1, ask_first=False)
    entry = ledger.store.queue[1]

    ledger.told(1, "approved", RETRY, series=1, attempt=1)

    assert ledger.store.topics("payment-1")[-1] == "payment.contradicted"
    assert ledger.store.queue == {1: entry}
    assert balance(ledger) == (1000, 0)


def test_an_inquiry_about_an_earlier_series_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """The same as for a late answer of a call."""
    declined(ledger, deposit())
    ledger.requeued(1)
    entry = ledger.store.queue[1]

    ledger.inquired(1, "declined", Fail(), series=1)

    assert ledger.store.queue == {1: entry}


def test_a_report_about_an_ended_payment_takes_it_off_the_queue(ledger: PaperWriter) -> None:
    """If an entry was left in the queue, it is removed."""
    declined(ledger, deposit())
    batch = ledger.begin([requeue(1)])

    call = decide(outcome(ledger.payment(), "declined", Fail(), attempt=1), batch)
    inquired = decide(inquiry(ledger.payment(), "no_clear_answer", INQUIRE), batch)

    assert (call.dequeue, call.enqueue, call.planned) == (1, None, [])
    assert (inquired.dequeue, inquired.enqueue, inquired.planned) == (1, None, [])


def test_a_contradiction_moves_no_money(ledger: PaperWriter) -> None:
    """The payment had failed here, and the gateway says success: an operator has to decide."""
    contradicted(ledger, withdrawal("2.00"))

    assert ledger.payment().letter == "contradicted"
    assert balance(ledger) == (1000, 0)
    assert ledger.store.queue == {}


def test_reports_that_cannot_be_are_refused_and_change_nothing(ledger: PaperWriter) -> None:
    """Reports that are stale, impossible, or about an unknown payment. A valid one in the same batch is carried out."""
    payment = ledger.requested(withdrawal("2.00"))

    answers = ledger.write(
        outcome(payment, "approved", Succeed(), seen_version=0),
        outcome(payment, "approved", RETRY),
        outcome(payment, "approved", Succeed(), payment_id=99),
        inquiry(payment, "approved", Succeed(), payment_id=99),
        inquiry(payment, "approved", Succeed(), seen_version=2),
        outcome(payment, "approved", Succeed()),
        outcome(payment, "approved", Succeed()),
    )

    assert [type(answer) for answer in answers] == [
        StaleCommand,
        OutcomeImpossible,
        PaymentNotFound,
        PaymentNotFound,
        StaleCommand,
        PaymentStanding,
        StaleCommand,
    ]
    assert answers[2].facts == {"payment_id": 99}
    assert balance(ledger) == (796, 0)
