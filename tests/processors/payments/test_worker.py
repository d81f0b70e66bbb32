"""The worker settles payments as the gateway answers, with a real writer, a real Postgres and a scripted gateway."""

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import RequeuePayment
from ledger.store.array_parameters import Bigints
from ledger.store.database import Database
from ledger.writer.cache_loading import SQL as WRITER_SQL
from ledger.writer.writer import Writer
from processors.payments.retry_policy import RetryPolicy
from tests.processors.payments.observing import (
    WITHIN_SECONDS,
    attempts,
    ended,
    queued,
    request_deposit,
    request_withdrawal,
)
from tests.support.gateways.misbehaving import http
from tests.support.gateways.scripted import BROKEN, BUSY, DECLINED, NOT_FOUND, OK, PENDING, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, working


def test_an_approved_payment_is_settled(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The gateway gets one call under the payment's own key, and the account gets the amount less the fee."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"
    assert ledger.account(1).posted_minor == 119_600
    assert gateway.of("POST") == [(1, "payment-1")]
    assert queued(database) == 0


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_a_worker_whose_clock_is_wrong_does_no_harm(
    database: Database, writer: Writer, ledger: Ledger, ahead: timedelta
) -> None:
    """Due times are on the database's clock, so Retry-After as a date moves a retry only within its usual bounds."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    busy = http("429 Too Many Requests", b"", f"Retry-After: {later}")
    with (
        ScriptedGateway(calls=[busy, OK]) as gateway,
        working(database, gateway.url, clock_ahead=ahead),
    ):
        payment_id = request_deposit(writer)

        payment = ended(ledger, payment_id)

    with closing(database.connect(application="test")) as connection:
        (waits,) = connection.execute(
            "SELECT (s->'data'->>'retry_at')::timestamptz - (s->>'at')::timestamptz FROM"
            " (SELECT convert_from(state, 'UTF8')::jsonb AS s FROM events) AS e WHERE s->'data' ? 'retry_at'"
        ).fetchall()
    assert payment.state == "succeeded"
    assert timedelta(seconds=QUICK.base_seconds) <= waits[0] <= timedelta(seconds=QUICK.cap_seconds)


def test_errors_are_retried_under_the_same_key(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Two attempts fail and the third is approved, so the money moves once."""
    with ScriptedGateway(calls=[BROKEN, BROKEN, OK]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "succeeded"
    assert gateway.of("POST") == [(1, "payment-1")] * 3
    assert [row[:4] for row in attempts(database)] == [
        (1, 1, "unknown", "gateway_error_502"),
        (1, 2, "unknown", "gateway_error_502"),
        (1, 3, "approved", None),
    ]


def test_a_payment_the_gateway_never_saw_fails_for_its_last_error(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """After the last attempt the gateway says that it does not know the payment, which releases the hold."""
    with ScriptedGateway(calls=[BROKEN]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert (payment.state, payment.letter, payment.last_error) == ("failed", "failed", "gateway_error_502")
    assert len(gateway.of("POST")) == 3
    assert gateway.of("GET") == [(1, "payment-1")]
    assert ledger.account(1).available_minor == 100_000


def test_an_inquiry_finds_a_success(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The money moved, although no call was answered."""
    with ScriptedGateway(calls=[BROKEN], inquiries=[OK]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert (payment.state, payment.ended_by) == ("succeeded", "inquiry")
    assert ledger.account(1).posted_minor == 94_900


def test_a_payment_in_doubt_keeps_its_hold_until_the_gateway_says(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """It is parked, inquired about again and again, and settled by the first clear answer."""
    clear = threading.Event()
    answers = [lambda: OK if clear.is_set() else PENDING]
    with ScriptedGateway(calls=[BROKEN], inquiries=answers) as gateway, working(database, gateway.url):
        payment_id = request_withdrawal(writer)
        wait_until(lambda: ledger.payment(payment_id).state == "in_doubt" and len(gateway.of("GET")) >= 2)
        held_minor = ledger.account(1).held_minor
        clear.set()
        payment = ended(ledger, payment_id)

    assert held_minor == 5_100
    assert payment.state == "succeeded"
    assert (ledger.account(1).posted_minor, ledger.account(1).held_minor) == (94_900, 0)


def test_a_payment_in_doubt_is_not_asked_about_where_the_gateway_cannot_be_asked(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Inquiries were switched off while it waited for one. It is parked for an operator, with its hold."""
    waiting = RetryPolicy(attempts_max=1, settle_seconds=60.0)
    with ScriptedGateway(calls=[BROKEN], inquiries=[OK]) as gateway:
        with working(database, gateway.url, policy=waiting):
            payment_id = request_withdrawal(writer)
            wait_until(lambda: ledger.payment(payment_id).unknown)
        with working(database, gateway.url, policy=replace(QUICK, inquiry=False)):
            wait_until(lambda: ledger.payment(payment_id).state == "in_doubt")

    assert gateway.of("GET") == []
    assert ledger.payment(payment_id).letter == "in_doubt"
    assert ledger.account(1).held_minor == 5_100


def test_a_decline_fails_at_once(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It causes neither a retry nor an inquiry."""
    with ScriptedGateway(calls=[DECLINED]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "failed"
    assert len(gateway.asked) == 1


def test_a_decline_after_an_unknown_is_asked_about(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The earlier attempt may have moved the money, and in this test it had."""
    script = ScriptedGateway(calls=[BROKEN, DECLINED], inquiries=[OK])
    with script as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "succeeded"
    assert len(gateway.of("GET")) == 1


def test_a_payment_that_is_never_accepted_fails_without_inquiry(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """No attempt can have moved money."""
    with ScriptedGateway(calls=[BUSY]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "failed"
    assert (len(gateway.of("POST")), gateway.of("GET")) == (3, [])


def test_a_requeued_payment_is_called_under_a_new_key(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The gateway declined the first call. Attempts count from 1 again, in a series of their own."""
    with ScriptedGateway(calls=[DECLINED, OK]) as gateway, working(database, gateway.url):
        payment_id = request_withdrawal(writer)
        ended(ledger, payment_id)
        writer.submit(RequeuePayment(command_id="r", payment_id=payment_id, why="asked")).result(WITHIN_SECONDS)
        wait_until(lambda: ledger.payment(payment_id).state == "succeeded")

    assert gateway.of("POST") == [(1, "payment-1"), (1, "payment-1-2")]
    assert [row[:2] for row in attempts(database)] == [(1, 1), (2, 1)]
    assert gateway.of("GET") == [(1, "payment-1")]


def test_a_requeued_payment_whose_first_call_is_carried_out_late_is_paid_once(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """The gateway times out, says that it does not know the payment, and then works the first call off."""
    with (
        ScriptedGateway(calls=[BROKEN, BROKEN, BROKEN, OK], inquiries=[NOT_FOUND, OK]) as gateway,
        working(database, gateway.url),
    ):
        payment_id = request_withdrawal(writer)
        ended(ledger, payment_id)
        writer.submit(RequeuePayment(command_id="r", payment_id=payment_id, why="asked")).result(WITHIN_SECONDS)
        wait_until(lambda: ledger.payment(payment_id).state == "succeeded")

    assert gateway.of("POST") == [(1, "payment-1")] * 3
    assert gateway.of("GET") == [(1, "payment-1")] * 2
    assert (ledger.account(1).posted_minor, ledger.payment(payment_id).letter) == (94_900, None)
    assert verify_store(database).ok


def test_money_that_moves_after_a_failure_becomes_a_letter(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The gateway did not know the payment, and does so when it is asked late; the audit agrees with each step."""
    late = replace(QUICK, late_seconds=(0.05, 0.1, 0.15))
    answers = [NOT_FOUND, NOT_FOUND, PENDING, OK]
    with (
        ScriptedGateway(calls=[BROKEN], inquiries=answers) as gateway,
        working(database, gateway.url, policy=late),
    ):
        payment_id = request_withdrawal(writer)
        failed = ended(ledger, payment_id)
        verified = verify_store(database)
        wait_until(lambda: ledger.payment(payment_id).letter == "contradicted")

    assert (failed.state, verified.errors) == ("failed", [])
    assert gateway.of("GET") == [(1, "payment-1")] * 4
    assert (queued(database), verify_store(database).errors) == (0, [])
    assert ledger.account(1).posted_minor == 100_000


def test_a_payment_that_is_asked_about_late_is_not_one_on_its_way(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Its deposit is not pending any more, so the account has room again."""
    with ScriptedGateway(calls=[BROKEN]) as gateway, working(database, gateway.url):
        ended(ledger, request_deposit(writer))

    with closing(database.connect(application="test")) as connection:
        pending = connection.execute(WRITER_SQL["read_pending"], {"account_ids": Bigints([1])}, binary=True).fetchall()

    assert (queued(database), pending) == (1, [])
