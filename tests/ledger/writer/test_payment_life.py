"""The life of a payment, written to a real Postgres."""

from concurrent.futures import Future
from typing import Any, cast

import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import Fail, InquireAfter, PaymentStanding, RequeuePayment, ResolvePayment, RetryAfter
from ledger.domain.money import AMOUNT_MINOR_MAX
from ledger.errors import (
    AccountNotFound,
    BalanceLimitExceeded,
    InsufficientFunds,
    LedgerError,
    PaymentNotFound,
    StaleCommand,
)
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.running_writer import (
    answer,
    deposit,
    given_account,
    holding_head,
    in_doubt,
    inquiry,
    log_topics,
    outcome,
    queue,
    withdrawal,
)


def test_a_deposit_is_credited_less_its_fee_once_the_gateway_approved(database: Database, writer: Writer) -> None:
    """200.00 at 2 % bring 196.00, and the queue entry goes with the payment's end."""
    given_account(writer)

    requested = answer(writer.submit(deposit("200")))
    queued = queue(database)
    settled = answer(writer.submit(outcome(requested.payment_id)))

    assert (requested.payment_id, requested.amount_minor, requested.fee_minor) == (1, 20_000, 400)
    assert [entry[:3] for entry in queued] == [(1, "pay", 0)]
    assert settled == PaymentStanding(payment_id=1, state="succeeded", version=3)
    assert Ledger(database).account(1).posted_minor == 119_600
    assert queue(database) == []


def test_a_withdrawal_is_held_at_once_and_debited_with_its_fee(database: Database, writer: Writer) -> None:
    """50.00 at 2 % hold 51.00 before any call, and take them once the gateway approved."""
    given_account(writer)

    requested = answer(writer.submit(withdrawal("50")))
    held = Ledger(database).account(1)
    answer(writer.submit(outcome(requested.payment_id)))
    debited = Ledger(database).account(1)

    assert (held.posted_minor, held.held_minor) == (100_000, 5_100)
    assert (debited.posted_minor, debited.held_minor) == (94_900, 0)


def test_a_withdrawal_without_cover_is_recorded_as_failed(database: Database, writer: Writer) -> None:
    """The payment is there and has failed, nothing is held and the gateway is not asked."""
    given_account(writer, "10")

    requested = answer(writer.submit(withdrawal("10", key="k")))
    again = answer(writer.submit(withdrawal("10", key="k")))

    assert requested.refused
    assert (again.payment_id, again.refused, again.replayed) == (requested.payment_id, True, True)
    assert log_topics(database) == ["account.opened", "payment.requested", "payment.failed"]
    assert queue(database) == []


@pytest.mark.usefixtures("part_max")
def test_a_whole_life_may_be_in_one_batch(database: Database, writer: Writer) -> None:
    """A command may remove the queue entry of an earlier one, also after that has been sent to the server."""
    given_account(writer)
    with holding_head(database):
        accepted = [writer.submit(deposit()), writer.submit(deposit())]
        told = [
            writer.submit(outcome(1)),
            writer.submit(outcome(1025, outcome="turned_away", error="http_500", then=RetryAfter(5.0))),
        ]

    for future in (*accepted, *told):
        answer(cast("Future[object]", future))

    assert [(row[0], row[2]) for row in queue(database)] == [(1025, 1)]
    assert Ledger(database).account(1).posted_minor == 100_000 + 19_600
    assert verify_store(database).errors == []


def test_a_retry_is_due_after_its_delay_on_the_databases_clock(database: Database, writer: Writer) -> None:
    """The delay counts from that clock. The head has its time too, because it was not set back."""
    given_account(writer)
    answer(writer.submit(deposit()))

    answer(writer.submit(outcome(outcome="turned_away", error="connection_refused", then=RetryAfter(2.5))))

    assert queue(database) == [(1, "pay", 1, 1, "payment-1", 0, False, 2, 2.5)]


def test_inquiries_about_a_payment_in_doubt_go_on(database: Database, writer: Writer) -> None:
    """The first unclear answer parks the payment. The next ones only change the queue entry."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))
    topics = log_topics(database)

    answer(writer.submit(inquiry(seen_version=4, inquiry=2, then=InquireAfter(20.0))))

    assert log_topics(database) == topics
    [(_, action, _, _, _, inquiries, unknown, version, due_seconds)] = queue(database)
    assert (action, inquiries, unknown, version) == ("inquire", 2, True, 4)
    assert due_seconds >= 20.0


def test_a_failed_inquiry_releases_the_hold(database: Database, writer: Writer) -> None:
    """When the gateway says that nothing moved, the payment fails with the error of its last attempt."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))

    standing = answer(writer.submit(inquiry(seen_version=4, answer="declined", then=Fail())))

    ledger = Ledger(database)
    assert standing.state == "failed"
    assert ledger.account(1).available_minor == 100_000
    assert ledger.payment(1).last_error == "timeout"


def test_a_requeued_withdrawal_holds_again_and_calls_under_a_new_key(database: Database, writer: Writer) -> None:
    """A gateway answers a used key with the old refusal, so the new series has a new key."""
    given_account(writer)
    answer(writer.submit(withdrawal("50")))
    answer(writer.submit(outcome(outcome="declined", error="declined", then=Fail("declined"))))

    answer(
        writer.submit(RequeuePayment(command_id="again", payment_id=1, why="card renewed", ask_first=False, by="ops"))
    )

    assert Ledger(database).account(1).held_minor == 5_100
    assert [entry[:5] for entry in queue(database)] == [(1, "pay", 0, 2, "payment-1-2")]


def test_a_requeue_without_cover_is_refused(writer: Writer) -> None:
    """The account has spent the money since, so it cannot be held again."""
    given_account(writer, "60")
    answer(writer.submit(withdrawal("50")))
    answer(writer.submit(outcome(outcome="declined", error="declined", then=Fail("declined"))))
    answer(writer.submit(withdrawal("40")))

    with pytest.raises(InsufficientFunds):
        answer(writer.submit(RequeuePayment(command_id="again", payment_id=1, why="card renewed", ask_first=False)))


@pytest.mark.parametrize(("resolution", "posted_minor"), [("success", 94_900), ("failed", 100_000)])
def test_an_operator_ends_a_payment_in_doubt(
    database: Database, writer: Writer, resolution: Any, posted_minor: int
) -> None:
    """The decision uses the hold or releases it, exactly once, and no inquiry follows."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))

    answer(writer.submit(ResolvePayment(command_id="word", payment_id=1, outcome=resolution, why="asked", by="ops")))

    account = Ledger(database).account(1)
    assert (account.posted_minor, account.held_minor) == (posted_minor, 0)
    assert queue(database) == []


def test_a_report_about_an_older_version_is_refused(writer: Writer) -> None:
    """The sender is told the version, so that it can look again."""
    given_account(writer)
    answer(writer.submit(deposit()))

    with pytest.raises(StaleCommand) as refused:
        answer(writer.submit(outcome(seen_version=7)))

    assert (refused.value.seen_version, refused.value.version) == (7, 1)


@pytest.mark.parametrize(
    ("command", "refusal"),
    [(deposit(account_id=7), AccountNotFound), (outcome(payment_id=9, account_id=7), PaymentNotFound)],
)
def test_what_does_not_exist_is_refused(writer: Writer, command: Any, refusal: type[LedgerError]) -> None:
    """The user or the payment does not exist."""
    with pytest.raises(refusal):
        answer(writer.submit(command))


def test_deposits_on_their_way_count_against_the_limit(database: Database, writer: Writer) -> None:
    """Nine of the largest deposits find room, a tenth does not, also with a writer that has just started."""
    largest = str(AMOUNT_MINOR_MAX // 100)
    given_account(writer, "0")
    for _ in range(9):
        answer(writer.submit(deposit(largest)))

    with pytest.raises(BalanceLimitExceeded):
        answer(writer.submit(deposit(largest)))
    second = Writer(database)
    second.start()
    with pytest.raises(BalanceLimitExceeded):
        answer(second.submit(deposit(largest)))
    second.stop()
