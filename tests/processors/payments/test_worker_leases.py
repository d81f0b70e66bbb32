"""Leases: another worker takes over the payment of a dead or slow one, and no outcome is lost."""

import threading
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg
import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_seals
from ledger.store.database import Database
from ledger.writer.writer import Writer
from processors.payments.worker import SESSION, SQL, steady_seconds
from tests.processors.payments.observing import (
    GATE,
    WITHIN_SECONDS,
    attempts,
    ended,
    queued,
    request_deposit,
    request_withdrawal,
)
from tests.support.gateways.scripted import BROKEN, BUSY, NOT_FOUND, OK, PENDING, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import expire_leases, working

UPTIME: Final = Path("/proc/uptime")


class SlowApproval:
    """A gateway's approval that is given when `now` is set."""

    def __init__(self) -> None:
        self.now = threading.Event()

    def __call__(self) -> bytes:
        self.now.wait(WITHIN_SECONDS)
        return OK


@pytest.mark.parametrize("action", ["pay", "inquire", "inquire_late"])
def test_a_call_that_could_end_after_its_lease_is_not_begun(
    database: Database, writer: Writer, ledger: Ledger, action: str
) -> None:
    """The lease is longer than nothing, and shorter than a call may take; so another worker may take over within it."""
    payment_id = request_withdrawal(writer)
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("UPDATE gateway_queue SET action = %s", [action])

    with (
        ScriptedGateway(calls=[OK], inquiries=[PENDING]) as gateway,
        working(database, gateway.url, lease_seconds=5, timeout_seconds=5),
        closing(database.connect(application="test")) as connection,
    ):
        wait_until(lambda: connection.execute("SELECT FROM gateway_queue WHERE leased_until > now()").rowcount == 1)

    assert (gateway.asked, ledger.payment(payment_id).attempt) == ([], 0)


@pytest.mark.skipif(not UPTIME.exists(), reason="this system does not say how long it has been up")
def test_the_clock_of_the_leases_goes_on_while_the_machine_is_suspended() -> None:
    """CLOCK_MONOTONIC stands still then, and a call could begin hours after its lease."""
    up_seconds = float(UPTIME.read_text().split()[0])  # with the time in which the machine was suspended

    assert abs(steady_seconds() - up_seconds) < 1


def test_the_attempt_of_a_dead_worker_is_recorded_before_the_next(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Its outcome is not known, so it is recorded as unknown, and the next attempt is the second."""
    payment_id = request_withdrawal(writer)
    with closing(database.connect(application="dead")) as connection:
        claim = GATE | {"limit": 1, "lease": "0.05 s", "worker": "dead", "inquiring": True}
        connection.execute(SQL["claim_due"], claim)

    with ScriptedGateway(calls=[BUSY, BUSY, OK], inquiries=[NOT_FOUND]) as gateway, working(database, gateway.url):
        payment = ended(ledger, payment_id)

    assert [row[1:4] for row in attempts(database)] == [
        (1, "unknown", "lease_expired"),
        (2, "turned_away", "gateway_error_429"),
        (3, "turned_away", "gateway_error_429"),
    ]
    assert len(gateway.of("GET")) == 1  # the dead worker's call may have moved the money
    assert payment.state == "failed"


def test_a_late_answer_settles_a_payment_that_another_worker_took_over(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Two workers call the gateway for one payment. The approval of the slow one counts, and it settles once."""
    slowly = SlowApproval()
    script = ScriptedGateway(calls=[slowly, BROKEN], inquiries=[PENDING])
    with script as gateway, working(database, gateway.url, lease_seconds=60, timeout_seconds=20):
        payment_id = request_withdrawal(writer)
        wait_until(lambda: bool(gateway.asked))
        expire_leases(database)
        with working(database, gateway.url):
            wait_until(lambda: ledger.payment(payment_id).state == "in_doubt")
            slowly.now.set()
            payment = ended(ledger, payment_id)

    assert payment.state == "succeeded"
    assert attempts(database)[-1] == (1, 1, "approved", None, True)
    assert ledger.account(1).posted_minor == 94_900


def test_success_after_a_failure_is_a_dead_letter(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The other worker was told that nothing had moved, and failed the payment. Then the slow approval comes."""
    slowly = SlowApproval()
    script = ScriptedGateway(calls=[slowly, BROKEN], inquiries=[NOT_FOUND])
    with script as gateway, working(database, gateway.url, lease_seconds=60, timeout_seconds=20):
        payment_id = request_withdrawal(writer)
        wait_until(lambda: bool(gateway.asked))
        expire_leases(database)
        with working(database, gateway.url):
            ended(ledger, payment_id)
            slowly.now.set()
            wait_until(lambda: ledger.payment(payment_id).letter == "contradicted")

    assert ledger.payment(payment_id).state == "failed"
    assert ledger.account(1).posted_minor == 100_000


def test_two_workers_never_call_for_the_same_payment(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Two workers make two hundred calls for two hundred payments."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url), working(database, gateway.url):
        payment_ids = [request_deposit(writer) for _ in range(200)]
        wait_until(lambda: queued(database) == 0)

    assert Counter(payment_id for payment_id, _ in gateway.of("POST")) == Counter(payment_ids)
    assert ledger.account(1).posted_minor == 100_000 + 200 * 19_600
    assert verify_seals(database).ok


def test_a_claim_reads_no_more_than_it_claims(database: Database) -> None:
    """This holds with statistics too: with them, the planner once chose to read the whole queue for each claim."""
    waiting, taken = 20_000, 32
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute(
            "INSERT INTO gateway_queue"
            " SELECT n, 1, 'deposit', 100, 2, 'USD', 1, 'payment-' || n, 0, 'pay', 0, false, 1,"
            " now() - interval '1 hour' + n * interval '1 ms' FROM generate_series(1, %s) AS n",
            [waiting],
        )
        owner.execute("ANALYZE gateway_queue")
    claim = GATE | {"limit": taken, "lease": timedelta(seconds=10), "worker": "test", "inquiring": True}

    with (
        closing(psycopg.connect(database.conninfo(application="test", options=SESSION))) as connection,
        connection.transaction(),
    ):
        claimed = connection.execute(SQL["claim_due"], claim, prepare=True).fetchall()
        read = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'gateway_queue'::regclass"
        ).fetchone()

    assert sorted(row[0] for row in claimed) == list(range(1, taken + 1))
    assert read is not None
    assert read[0] <= 4 * taken


def test_a_worker_whose_slots_are_full_claims_no_more(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It leaves payments that it cannot call at once to other workers, and claims the next when a slot is free."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, concurrency=1):
        payment_ids = [request_deposit(writer) for _ in range(10)]
        wait_until(lambda: queued(database) == 0)

    assert [payment_id for payment_id, _ in gateway.of("POST")] == payment_ids
    assert ledger.payment(payment_ids[-1]).state == "succeeded"
