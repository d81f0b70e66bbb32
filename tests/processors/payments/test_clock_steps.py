"""The database's clock is set forward or back while payments are on their way."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount
from ledger.writer.writer import Writer
from processors.payments.retry_policy import RetryPolicy
from processors.payments.worker import SQL
from tests.processors.payments.observing import GATE, WITHIN_SECONDS, attempts, ended, request_deposit
from tests.support.clocks import DAY, HOUR, ClockedDatabase, clocked_ledger
from tests.support.databases import execute
from tests.support.gateways.scripted import BROKEN, BUSY, NOT_FOUND, OK, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import working

TEN_SECONDS = timedelta(seconds=10)
SETTLE_SECONDS = 2.0
ONE_CALL = RetryPolicy(attempts_max=1, jitter_seconds=0.0, settle_seconds=SETTLE_SECONDS)
LATE_SECONDS = 600.0
ASKED_LATE = RetryPolicy(attempts_max=1, jitter_seconds=0.0, settle_seconds=0.1, late_seconds=(LATE_SECONDS,))
LONG_RETRY = RetryPolicy(base_seconds=1_000.0, cap_seconds=1_000.0, jitter_seconds=0.0)
LONG_DELAY = RetryPolicy(attempts_max=1, jitter_seconds=0.0, settle_seconds=1_000.0)


@pytest.fixture
def database(postgres_url: str) -> Iterator[ClockedDatabase]:
    """Yield a ledger whose clock can be set."""
    with clocked_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def writer(database: ClockedDatabase) -> Iterator[Writer]:
    """Yield a writer of that ledger, with one account."""
    writer = Writer(database)
    writer.start()
    writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result(WITHIN_SECONDS)
    yield writer
    writer.stop()


def ledger_is_right(database: ClockedDatabase) -> bool:
    """Whether an audit finds nothing but the time of the head, which the clock has not reached again."""
    return all(error.what.startswith("the head's time is") for error in verify_store(database).errors)


def due_times(database: ClockedDatabase) -> list[object]:
    with closing(database.connect(application="test")) as connection:
        rows = connection.execute("SELECT due_at FROM gateway_queue ORDER BY payment_id").fetchall()
    return [row[0] for row in rows]


# --- forward ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [TEN_SECONDS, HOUR, DAY])
@pytest.mark.parametrize("who", ["the worker that called", "another worker"])
def test_an_inquiry_waits_for_the_delay_when_the_clock_jumps_over_it(
    database: ClockedDatabase, writer: Writer, step: timedelta, who: str
) -> None:
    """A gateway that is asked too early has not received the payment, and makes it afterwards."""
    asked_at: list[float] = []

    def answer() -> bytes:
        asked_at.append(time.monotonic())
        return NOT_FOUND

    with ScriptedGateway(calls=[BROKEN], inquiries=[answer]) as gateway, Ledger(database) as ledger:
        with working(database, gateway.url, policy=ONE_CALL):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(gateway.of("POST")))
            called_at = time.monotonic()
            if who == "the worker that called":
                wait_until(lambda: bool(attempts(database)))
                database.step_clock(step)
                ended(ledger, payment_id)
        if who == "another worker":
            assert asked_at == []
            database.step_clock(step)
            with working(database, gateway.url, policy=ONE_CALL):
                ended(ledger, payment_id)

    assert asked_at[0] - called_at >= SETTLE_SECONDS
    assert ledger_is_right(database)


@pytest.mark.parametrize("step", [HOUR, DAY])
def test_payments_go_on_after_the_clock_was_ahead(database: ClockedDatabase, writer: Writer, step: timedelta) -> None:
    """The log keeps the later time when the clock is set right; calls and retries are due by the clock."""
    database.step_clock(step)
    when_it_was_ahead = request_deposit(writer)
    database.step_clock(-step)

    with ScriptedGateway(calls=[BUSY, OK]) as gateway, working(database, gateway.url), Ledger(database) as ledger:
        payments = [ended(ledger, request_deposit(writer)) for _ in range(2)]
        payments.append(ended(ledger, when_it_was_ahead))

    assert [payment.state for payment in payments] == ["succeeded"] * 3
    assert ledger_is_right(database)


# --- back ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [HOUR, 2 * HOUR, DAY])
@pytest.mark.parametrize("when", ["while a worker runs", "while none runs"])
@pytest.mark.parametrize("waits_for", ["a retry", "an inquiry"])
def test_nothing_waits_until_the_clock_has_caught_up(
    database: ClockedDatabase, writer: Writer, step: timedelta, when: str, waits_for: str
) -> None:
    """Entries that were due by the former clock are due within the longest wait of the retry policy."""
    slow = RetryPolicy(base_seconds=1.0, cap_seconds=1.0, jitter_seconds=0.0, settle_seconds=1.0)
    policy = slow if waits_for == "a retry" else ONE_CALL
    script = ScriptedGateway(calls=[BUSY, OK] if waits_for == "a retry" else [BROKEN], inquiries=[OK])
    with script as gateway, Ledger(database) as ledger:
        with working(database, gateway.url, policy=policy):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(attempts(database)))
            if when == "while a worker runs":
                database.step_clock(-step)
                ended(ledger, payment_id)
        if when == "while none runs":
            database.step_clock(-step)
            with working(database, gateway.url, policy=policy):
                ended(ledger, payment_id)
        payment = ledger.payment(payment_id)

    assert payment.state == "succeeded"
    assert ledger_is_right(database)


@pytest.mark.parametrize(("answer", "policy"), [(BUSY, LONG_RETRY), (BROKEN, LONG_DELAY)])
def test_an_audit_is_clean_while_an_entry_waits_after_the_clock_was_set_back(
    database: ClockedDatabase, writer: Writer, answer: bytes, policy: RetryPolicy
) -> None:
    """The entry is due earlier than its event says, and that is right."""
    with ScriptedGateway(calls=[answer]) as gateway, working(database, gateway.url, policy=policy):
        request_deposit(writer)
        wait_until(lambda: bool(attempts(database)))
        before = due_times(database)
        database.step_clock(-2 * HOUR)
        wait_until(lambda: due_times(database) != before)

        wait_until(lambda: ledger_is_right(database))  # the worker's last heartbeat has the former time until the next


@pytest.mark.parametrize("step", [TEN_SECONDS, HOUR, DAY, -HOUR, -DAY])
def test_a_late_inquiry_keeps_its_wait_when_the_clock_is_set(
    database: ClockedDatabase, writer: Writer, step: timedelta
) -> None:
    """Made at once after a jump, it would have the answer of a time shortly after the failure, and be the last one."""
    with (
        ScriptedGateway(calls=[BROKEN], inquiries=[NOT_FOUND]) as gateway,
        working(database, gateway.url, policy=ASKED_LATE),
        Ledger(database) as ledger,
    ):
        ended(ledger, request_deposit(writer))
        before = due_times(database)
        database.step_clock(step)
        wait_until(lambda: due_times(database) != before)
        wait_seconds = late_wait_seconds(database)
        wait_until(lambda: ledger_is_right(database))

    assert len(gateway.of("GET")) == 1
    assert LATE_SECONDS - WITHIN_SECONDS < wait_seconds <= LATE_SECONDS


def late_wait_seconds(database: ClockedDatabase) -> float:
    """How long the one late inquiry of the queue still waits, by the clock as it is now."""
    ((seconds,),) = execute(
        database, "SELECT extract(epoch FROM due_at - now())::float8 FROM gateway_queue WHERE action = 'inquire_late'"
    )
    return float(seconds)


def test_a_dead_workers_lease_ends_although_the_clock_was_set_back(database: ClockedDatabase, writer: Writer) -> None:
    """It would last until the clock has caught up. The worker that finds it takes it as one that begins now."""
    payment_id = request_deposit(writer)
    with closing(database.connect(application="dead")) as connection:
        claim = GATE | {"limit": 1, "lease": "0.1 s", "worker": "dead", "inquiring": True}
        connection.execute(SQL["claim_due"], claim)
    database.step_clock(-2 * HOUR)

    with (
        ScriptedGateway(calls=[OK]) as gateway,
        working(database, gateway.url, lease_seconds=8.0),
        Ledger(database) as ledger,
    ):
        payment = ended(ledger, payment_id)

    assert (payment.state, payment.attempt) == ("succeeded", 2)


def test_waits_that_are_right_stay_as_they_are(database: ClockedDatabase, writer: Writer) -> None:
    """A worker that starts on a store whose clock was not set changes no time in the queue."""
    policy = RetryPolicy(base_seconds=1_000.0, cap_seconds=1_000.0, jitter_seconds=0.0)
    with ScriptedGateway(calls=[BUSY]) as gateway:
        with working(database, gateway.url, policy=policy):
            request_deposit(writer)
            wait_until(lambda: bool(attempts(database)))
        before = due_times(database)
        with working(database, gateway.url, policy=policy):
            request_deposit(writer)
            wait_until(lambda: len(attempts(database)) == 2)

    assert due_times(database)[:1] == before
