"""An outage of the gateway is one outage: it opens the breaker, and fails no payment that waits."""

import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import RequestDeposit
from ledger.operation.gateway import change_gateway
from ledger.store.database import Database
from ledger.writer.writer import Writer
from processors.payments.breaker import BreakerPolicy
from tests.processors.payments.observing import WITHIN_SECONDS, attempts, ended, queued, request_deposit
from tests.support.databases import execute
from tests.support.gateways.misbehaving import http
from tests.support.gateways.scripted import BROKEN, BUSY, OK, PENDING, ScriptedGateway
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, working

PATIENT = replace(QUICK, breaker=BreakerPolicy(failures=3, probe_seconds=0.1, patience_seconds=600.0))
NEVER_OPENS = replace(QUICK, breaker=BreakerPolicy(failures=0, patience_seconds=600.0))
NOWHERE = "http://127.0.0.1:1"

pytestmark = pytest.mark.usefixtures("ledger")  # it has the account


def given_payments(writer: Writer, count: int) -> list[int]:
    """Request deposits that wait for their calls."""
    commands = [
        RequestDeposit(command_id="d", account_id=1, amount=Decimal(200), fee_rate_ppm=20_000) for _ in range(count)
    ]
    return [future.result(WITHIN_SECONDS).payment_id for future in map(writer.submit, commands)]


def changes(database: Database) -> list[str]:
    """The changes of the gateway that the log has."""
    statement = """
        SELECT convert_from(state, 'UTF8')::jsonb->'data'->>'change' FROM events
         WHERE originator_id = 'operation' ORDER BY originator_version
    """
    return [change for (change,) in execute(database, statement)]


def is_open(database: Database) -> bool:
    return execute(database, "SELECT opened_at IS NOT NULL FROM gateway_state") == [(True,)]


def test_an_outage_fails_no_payment_and_uses_up_no_attempt(database: Database, writer: Writer, ledger: Ledger) -> None:
    """All are settled when the gateway is back, by one attempt each, and the log tells when it was away."""
    port = free_port()
    with working(database, f"http://127.0.0.1:{port}", policy=PATIENT):
        waiting = given_payments(writer, 40)
        wait_until(lambda: is_open(database))
        assert queued(database) == len(waiting)

        with ScriptedGateway(calls=[OK], port=port):
            states = {ended(ledger, payment_id).state for payment_id in waiting}
            wait_until(lambda: not is_open(database))

    assert states == {"succeeded"}
    assert attempts(database) == [(1, 1, "approved", None, False)] * len(waiting)
    assert changes(database) == ["breaker_opened", "breaker_closed"]
    assert verify_store(database).errors == []


def test_an_outage_is_told_without_a_breaker(database: Database, writer: Writer) -> None:
    """No call uses up an attempt, so no payment tells of it."""
    with capture_logs() as lines, working(database, NOWHERE, policy=NEVER_OPENS):
        waiting = given_payments(writer, 3)
        wait_until(lambda: "gateway_outage_began" in {line["event"] for line in lines})

    assert queued(database) == len(waiting)


def test_an_open_breaker_lets_single_probes_through(database: Database, writer: Writer) -> None:
    """A gateway that answers 5xx gets three calls, and then one at a time, until it answers otherwise."""
    with ScriptedGateway(calls=[BROKEN, OK]) as gateway:
        change_gateway(database, "breaker_opened", why="of before")
        with working(database, gateway.url, policy=replace(PATIENT, base_seconds=30.0, cap_seconds=30.0)):
            waiting = given_payments(writer, 6)
            wait_until(lambda: len(gateway.asked) >= 3)
            began, seen = time.monotonic(), len(gateway.asked)
            wait_until(lambda: len(gateway.asked) >= seen + 2)
            took_seconds = time.monotonic() - began

    assert took_seconds > 0.1
    assert [payment_id for _, payment_id, _ in gateway.asked] == waiting[: len(gateway.asked)]
    assert is_open(database)


def test_the_breaker_stays_closed_while_a_quarter_of_the_calls_fail(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """It opens for failures in a row only."""
    turn = iter(range(10_000))

    def sometimes() -> bytes:
        return BROKEN if next(turn) % 4 == 0 else OK

    policy = replace(PATIENT, attempts_max=20)
    with ScriptedGateway(calls=[sometimes]) as gateway, working(database, gateway.url, policy=policy):
        states = {ended(ledger, payment_id).state for payment_id in given_payments(writer, 40)}

    assert states == {"succeeded"}
    assert changes(database) == []


def test_lost_calls_are_no_probes_and_wait_for_none(database: Database, writer: Writer) -> None:
    """They are only recorded, and nobody is called, so a breaker that is open or a pause does not hold them."""
    rare = replace(PATIENT, breaker=BreakerPolicy(failures=3, probe_seconds=600.0, patience_seconds=600.0))
    lost = given_payments(writer, 12)
    statement = "UPDATE gateway_queue SET attempt = 1, leased_until = now() - interval '1 hour', leased_by = 'dead'"
    execute(database, f"{statement} RETURNING payment_id")
    change_gateway(database, "breaker_opened", why="it is away", probe_after=timedelta(minutes=10))

    with working(database, NOWHERE, policy=rare):
        wait_until(lambda: execute(database, "SELECT count(*) FROM gateway_queue WHERE unknown") == [(len(lost),)])

    assert attempts(database) == [(1, 1, "unknown", "lease_expired", False)] * len(lost)


def test_two_workers_open_it_once(database: Database, writer: Writer) -> None:
    """They share one state."""
    with working(database, NOWHERE, policy=PATIENT), working(database, NOWHERE, policy=PATIENT):
        given_payments(writer, 40)
        wait_until(lambda: is_open(database))
        time.sleep(0.5)  # several probes

    assert changes(database) == ["breaker_opened"]


def test_after_the_patience_attempts_are_used_up(database: Database, writer: Writer, ledger: Ledger) -> None:
    """As in the original, where a payment fails after three calls that could not be made."""
    policy = replace(QUICK, breaker=BreakerPolicy(failures=0, patience_seconds=0.3))
    with working(database, NOWHERE, policy=policy):
        payment = ended(ledger, request_deposit(writer))

    assert (payment.state, payment.attempt) == ("failed", 3)
    assert {outcome for _, _, outcome, _, _ in attempts(database)} == {"turned_away"}


# --- inquiries -------------------------------------------------------------------------------------------------------


def given_payments_in_doubt(database: Database, writer: Writer, count: int) -> list[int]:
    """Payments whose call said nothing certain, and whose first inquiry is due."""
    waiting = given_payments(writer, count)
    policy = replace(PATIENT, attempts_max=1, settle_seconds=1_000.0)
    with ScriptedGateway(calls=[PENDING]) as gateway, working(database, gateway.url, policy=policy):
        wait_until(lambda: execute(database, "SELECT DISTINCT action FROM gateway_queue") == [("inquire",)])
    execute(database, "UPDATE gateway_queue SET due_at = now() - interval '1 min'", owner=True)
    return waiting


def test_inquiries_that_fail_hold_no_calls(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The breaker opens for calls only."""
    in_doubt = given_payments_in_doubt(database, writer, 16)
    with ScriptedGateway(calls=[OK], inquiries=[BROKEN]) as gateway, working(database, gateway.url, policy=PATIENT):
        wait_until(lambda: len(gateway.of("GET")) >= len(in_doubt))
        state = ended(ledger, request_deposit(writer)).state

    assert state == "succeeded"
    assert changes(database) == []


def test_a_probe_is_a_call_if_one_is_due(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Inquiries that are due earlier could fail while calls work."""
    given_payments_in_doubt(database, writer, 16)
    change_gateway(database, "breaker_opened", why="of before")
    deposit = request_deposit(writer)
    policy = replace(PATIENT, settle_seconds=0.0)  # no wait for the clock before the first inquiry
    with ScriptedGateway(calls=[OK], inquiries=[BROKEN]) as gateway, working(database, gateway.url, policy=policy):
        state = ended(ledger, deposit).state
        first, *_ = gateway.asked

    assert state == "succeeded"
    assert first[:2] == ("POST", deposit)


def test_an_inquiry_probes_if_no_call_is_due(database: Database, writer: Writer) -> None:
    """One that is answered closes the breaker, and one that fails does not."""
    given_payments_in_doubt(database, writer, 4)
    change_gateway(database, "breaker_opened", why="of before")
    with ScriptedGateway(calls=[OK], inquiries=[BROKEN]) as gateway, working(database, gateway.url, policy=PATIENT):
        wait_until(lambda: len(gateway.asked) >= 2)
        stayed_open = is_open(database)
        gateway.scripts["GET"] = [PENDING]
        wait_until(lambda: not is_open(database))

    assert stayed_open
    assert changes(database) == ["breaker_opened", "breaker_closed"]


# --- holds -----------------------------------------------------------------------------------------------------------


@dataclass
class Paced:
    """Answers 429 at first and counts the calls in the time after it."""

    refusal: bytes
    refused_at: float = 0.0
    next_at: float = 0.0

    def __call__(self) -> bytes:
        if not self.refused_at:
            self.refused_at = time.monotonic()
            return self.refusal
        self.next_at = self.next_at or time.monotonic()
        return OK


@pytest.mark.parametrize(
    ("refusal", "seconds"), [(BUSY, 0.3), (http("429 Too Many Requests", b"", "Retry-After: 1"), 1.0)]
)
def test_a_busy_gateway_is_left_alone_by_all(
    database: Database, writer: Writer, ledger: Ledger, refusal: bytes, seconds: float
) -> None:
    """A 429 slows the gateway down and not one payment, whose attempts it leaves alone."""
    paced = Paced(refusal)
    policy = replace(NEVER_OPENS, base_seconds=0.3, cap_seconds=5.0)
    with ScriptedGateway(calls=[paced]) as gateway, working(database, gateway.url, policy=policy, concurrency=1):
        waiting = given_payments(writer, 5)
        states = {ended(ledger, payment_id).state for payment_id in waiting}

    assert states == {"succeeded"}
    assert paced.next_at - paced.refused_at >= seconds
    assert attempts(database) == [(1, 1, "approved", None, False)] * len(waiting)


@dataclass
class BusyAtFirst:
    """Answers so many calls with 429, and the others well."""

    calls: int

    def __call__(self) -> bytes:
        self.calls -= 1
        return BUSY if self.calls >= 0 else OK


def test_a_busy_gateway_uses_up_no_attempts(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It answers everybody with 429, also again and again."""
    busy = BusyAtFirst(calls=60)
    with ScriptedGateway(calls=[busy]) as gateway, working(database, gateway.url, policy=NEVER_OPENS, concurrency=1):
        waiting = given_payments(writer, 12)
        states = {ended(ledger, payment_id).state for payment_id in waiting}

    assert states == {"succeeded"}
    assert attempts(database) == [(1, 1, "approved", None, False)] * len(waiting)


# --- a 429 that is about one payment ---------------------------------------------------------------------------------


def test_payments_that_get_a_429_hold_up_no_others(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Also where there are as many of them as call slots, all due before the others."""
    refused, others = given_payments(writer, 4), given_payments(writer, 10)
    with ScriptedGateway(calls=[OK]) as gateway:
        gateway.calls_of = {payment_id: [BUSY] for payment_id in refused}
        with working(database, gateway.url, policy=replace(NEVER_OPENS, attempts_max=1_000), concurrency=4):
            states = {ended(ledger, payment_id).state for payment_id in others}

    assert states == {"succeeded"}
    assert queued(database) == len(refused)
    assert verify_store(database).errors == []


def test_a_payment_that_gets_a_429_while_others_do_not_fails(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Its events tell why, and it is a letter."""
    (refused,) = given_payments(writer, 1)
    with ScriptedGateway(calls=[OK]) as gateway:
        gateway.calls_of = {refused: [BUSY]}
        with working(database, gateway.url, policy=NEVER_OPENS):
            for _ in range(500):
                ended(ledger, request_deposit(writer))
                if ledger.payment(refused).ended:
                    break

    assert (ledger.payment(refused).state, ledger.payment(refused).attempt) == ("failed", 3)
    told = [attempt for attempt in attempts(database) if attempt[2] != "approved"]
    assert told == [(1, n, "turned_away", "gateway_error_429", False) for n in (1, 2, 3)]


def test_a_payment_that_gets_a_429_is_called_ever_more_seldom(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """The waits are those of the policy, up to its cap."""
    called_at: list[float] = []

    def refuse() -> bytes:
        called_at.append(time.monotonic())
        return BUSY if len(called_at) < 5 else OK

    policy = replace(NEVER_OPENS, base_seconds=0.1, cap_seconds=0.4)
    with ScriptedGateway(calls=[refuse]) as gateway, working(database, gateway.url, policy=policy):
        payment = ended(ledger, request_deposit(writer))

    waits = [after - before for before, after in pairwise(called_at)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.4), strict=True))
    assert (payment.state, payment.attempt) == ("succeeded", 1)


def test_a_429_uses_up_attempts_after_the_patience(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Also where no other payment is called."""
    policy = replace(QUICK, breaker=BreakerPolicy(failures=0, patience_seconds=0.3))
    with ScriptedGateway(calls=[BUSY]) as gateway, working(database, gateway.url, policy=policy):
        payment = ended(ledger, request_deposit(writer))
        asked = len(gateway.asked)

    assert (payment.state, payment.attempt) == ("failed", 3)
    assert asked > 3


# --- times of a former clock -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["held_until = now() + interval '1 year'", "probe_at = now() + interval '1 year'"])
def test_a_time_of_a_former_clock_stops_nobody(database: Database, writer: Writer, ledger: Ledger, column: str) -> None:
    """The clock was a year ahead when it was noted."""
    if column.startswith("probe_at"):
        change_gateway(database, "breaker_opened", why="of before")
    execute(database, f"UPDATE gateway_state SET {column}", owner=True)
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, policy=PATIENT):
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


# --- an operator's pause ---------------------------------------------------------------------------------------------


def test_a_paused_gateway_is_not_called_and_not_asked(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Everything is accepted, and goes on when an operator resumes it."""
    change_gateway(database, "paused", why="maintenance", by="Ada")
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, policy=PATIENT):
        waiting = given_payments(writer, 3)
        time.sleep(1.0)  # several polls
        asked_while_paused = list(gateway.asked)
        change_gateway(database, "resumed", why="done", by="Ada")
        states = {ended(ledger, payment_id).state for payment_id in waiting}

    assert asked_while_paused == []
    assert states == {"succeeded"}


def test_a_pause_holds_probes_too(database: Database, writer: Writer) -> None:
    """Also where the breaker is open."""
    for change in ("breaker_opened", "paused"):
        change_gateway(database, change, why="maintenance")
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, policy=PATIENT):
        given_payments(writer, 3)
        time.sleep(1.0)  # several probes
        asked = list(gateway.asked)

    assert asked == []


def test_a_worker_that_stops_gives_its_calls_back(database: Database, writer: Writer) -> None:
    """A call that could not be made leaves no lease behind, which would count as a call that was lost."""
    with working(database, NOWHERE, policy=NEVER_OPENS):
        given_payments(writer, 10)
        wait_until(lambda: execute(database, "SELECT held_until IS NOT NULL FROM gateway_state") == [(True,)])

    assert set(execute(database, "SELECT attempt, leased_until FROM gateway_queue")) == {(0, None)}
    assert verify_store(database).errors == []
