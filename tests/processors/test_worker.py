"""The worker, with a real writer, a real Postgres and a gateway that answers as each test tells it."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, Self

import psycopg
import pytest

from ledger.application import Ledger
from ledger.audit import verify_seals
from ledger.commands import OpenAccount, RequestDeposit, RequestWithdrawal, RequeuePayment
from ledger.database import Database
from ledger.payment import Payment
from ledger.writer import Writer
from processors.worker import SESSION, SQL
from tests.processors.misbehaving_server import Connection, MisbehavingServer, http
from tests.processors.working import QUICK, working

WITHIN_SECONDS = 30.0
OK = http("200 OK", b'{"status":"ok"}')
DECLINED = http("200 OK", b'{"status":"declined"}')
PENDING = http("200 OK", b'{"status":"pending"}')
NOT_FOUND = http("404 Not Found", b'{"status":"not_found"}')
BROKEN = http("502 Bad Gateway")
BUSY = http("429 Too Many Requests")


class ScriptedGateway:
    """Answers each payment's calls and inquiries with the next answer of its script; the last one is repeated.

    An answer is bytes, or a function that is called for them, which may take its time.
    """

    def __init__(self, *, calls: list[Any], inquiries: list[Any] | None = None) -> None:
        self.scripts = {"POST": calls, "GET": inquiries or [NOT_FOUND]}
        self.asked: list[tuple[str, int, str]] = []
        self._server = MisbehavingServer(self._behave)

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.url = self._server.url
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.__exit__(None, None, None)

    def of(self, method: str) -> list[tuple[int, str]]:
        return [(payment_id, key) for asked, payment_id, key in self.asked if asked == method]

    def _behave(self, connection: Connection) -> None:
        while request := connection.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            method = head.split(b" ")[0].decode()
            found = re.search(rb"(?i)idempotency-key: *([^\r]+)", head)
            assert found is not None
            payment_id = json.loads(body)["payment_id"] if body else int(head.split(b" ")[1].rsplit(b"/", 1)[1])
            script = self.scripts[method]
            count = len([one for one in self.asked if one[:2] == (method, payment_id)])
            self.asked.append((method, payment_id, found[1].decode()))
            answer = script[min(count, len(script) - 1)]
            connection.send(answer() if callable(answer) else answer)


@pytest.fixture
def ledger(database: Database, writer: Writer) -> Iterator[Ledger]:
    """The ledger to look at, with one account of 1000.00."""
    writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result(WITHIN_SECONDS)
    with Ledger(database) as ledger:
        yield ledger


def request_withdrawal(writer: Writer) -> int:
    command = RequestWithdrawal(command_id="w", account_id=1, amount=Decimal(50), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS).payment_id


def request_deposit(writer: Writer) -> int:
    command = RequestDeposit(command_id="d", account_id=1, amount=Decimal(200), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS).payment_id


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def ended(ledger: Ledger, payment_id: int) -> Payment:
    wait_until(lambda: ledger.payment(payment_id).ended)
    return ledger.payment(payment_id)


def attempts(database: Database) -> list[tuple[Any, ...]]:
    """Series, attempt, outcome and error of each recorded attempt, and whether its answer came late."""
    with closing(database.connect(application="test")) as connection:
        return connection.execute(
            "SELECT data->'series', data->'attempt', data->>'outcome', data->>'error',"
            " coalesce(data->'late' = 'true', false)"
            " FROM (SELECT notification_id, convert_from(state, 'UTF8')::jsonb->'data' AS data FROM events"
            " WHERE topic = 'payment.gateway_attempted') AS e ORDER BY notification_id"
        ).fetchall()


def queued(database: Database) -> int:
    with closing(database.connect(application="test")) as connection:
        row = connection.execute("SELECT count(*) FROM gateway_queue").fetchone()
    assert row is not None
    return int(row[0])


# --- how calls end ---------------------------------------------------------------------------------------------------


def test_an_approved_payment_is_settled(database: Database, writer: Writer, ledger: Ledger) -> None:
    """One call under the payment's own key, and the account has the money less the fee."""
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
    """The schedule is on the database's clock; a date to wait for moves a retry within its usual bounds at most."""
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


def test_errors_are_tried_again_under_the_same_key(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Twice broken, then approved: three attempts, and the money moves once."""
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
    """After the last attempt the gateway is asked, and its plain no frees the hold."""
    with ScriptedGateway(calls=[BROKEN]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert (payment.state, payment.letter, payment.last_error) == ("failed", "failed", "gateway_error_502")
    assert len(gateway.of("POST")) == 3
    assert gateway.of("GET") == [(1, "payment-1")]
    assert ledger.account(1).available_minor == 100_000


def test_success_is_learnt_by_inquiry(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The money moved although no answer ever said so."""
    with ScriptedGateway(calls=[BROKEN], inquiries=[OK]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert (payment.state, payment.ended_by) == ("succeeded", "inquiry")
    assert ledger.account(1).posted_minor == 94_900


def test_a_payment_in_doubt_keeps_its_hold_until_the_gateway_says(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """It is parked, asked about again and again, and settled by the first clear answer."""
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


def test_a_decline_fails_at_once(database: Database, writer: Writer, ledger: Ledger) -> None:
    """No retry, no inquiry."""
    with ScriptedGateway(calls=[DECLINED]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "failed"
    assert len(gateway.asked) == 1


def test_a_decline_after_an_unknown_is_asked_about(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The earlier attempt may have moved the money, and here it had."""
    script = ScriptedGateway(calls=[BROKEN, DECLINED], inquiries=[OK])
    with script as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "succeeded"
    assert len(gateway.of("GET")) == 1


def test_a_payment_always_turned_away_fails_without_inquiry(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Surely nothing moved."""
    with ScriptedGateway(calls=[BUSY]) as gateway, working(database, gateway.url):
        payment = ended(ledger, request_withdrawal(writer))

    assert payment.state == "failed"
    assert (len(gateway.of("POST")), gateway.of("GET")) == (3, [])


def test_a_requeued_payment_is_called_under_a_new_key(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Its attempts count anew, in a series of their own."""
    with ScriptedGateway(calls=[DECLINED, OK]) as gateway, working(database, gateway.url):
        payment_id = request_withdrawal(writer)
        ended(ledger, payment_id)
        writer.submit(RequeuePayment(command_id="r", payment_id=payment_id, why="asked")).result(WITHIN_SECONDS)
        wait_until(lambda: ledger.payment(payment_id).state == "succeeded")

    assert gateway.of("POST") == [(1, "payment-1"), (1, "payment-1-2")]
    assert [row[:2] for row in attempts(database)] == [(1, 1), (2, 1)]


# --- leases ----------------------------------------------------------------------------------------------------------


def test_the_attempt_of_a_dead_worker_is_recorded_before_the_next(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """Nobody knows what became of it, so it counts as unknown; the next attempt is the second."""
    payment_id = request_withdrawal(writer)
    with closing(database.connect(application="dead")) as connection:
        connection.execute(SQL["claim_due"], {"limit": 1, "lease": "0.05 s", "worker": "dead"})

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
    """Two workers believe they own it; the approval of the slow one counts, and it settles once."""
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    script = ScriptedGateway(calls=[slowly, BROKEN], inquiries=[PENDING])
    with script as gateway, working(database, gateway.url, lease_seconds=0.2, timeout_seconds=20):
        payment_id = request_withdrawal(writer)
        wait_until(lambda: bool(gateway.asked))
        with working(database, gateway.url):
            wait_until(lambda: ledger.payment(payment_id).state == "in_doubt")
            answer_now.set()
            payment = ended(ledger, payment_id)

    assert payment.state == "succeeded"
    assert attempts(database)[-1] == (1, 1, "approved", None, True)
    assert ledger.account(1).posted_minor == 94_900


def test_success_after_we_gave_up_is_a_letter_and_no_silent_loss(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """The other worker was told that nothing had moved, and failed the payment; then the slow answer comes."""
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    script = ScriptedGateway(calls=[slowly, BROKEN], inquiries=[NOT_FOUND])
    with script as gateway, working(database, gateway.url, lease_seconds=0.2, timeout_seconds=20):
        payment_id = request_withdrawal(writer)
        wait_until(lambda: bool(gateway.asked))
        with working(database, gateway.url):
            ended(ledger, payment_id)
            answer_now.set()
            wait_until(lambda: ledger.payment(payment_id).letter == "reconcile")

    assert ledger.payment(payment_id).state == "failed"
    assert ledger.account(1).posted_minor == 100_000


def test_workers_share_the_work_and_none_is_done_twice(database: Database, writer: Writer, ledger: Ledger) -> None:
    """Two workers, two hundred payments, two hundred calls."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url), working(database, gateway.url):
        payment_ids = [request_deposit(writer) for _ in range(200)]
        wait_until(lambda: queued(database) == 0)

    assert Counter(payment_id for payment_id, _ in gateway.of("POST")) == Counter(payment_ids)
    assert ledger.account(1).posted_minor == 100_000 + 200 * 19_600
    assert verify_seals(database).ok


# --- waking, losing the database, stopping ---------------------------------------------------------------------------


def test_a_claim_reads_what_it_takes_however_long_the_queue_is(database: Database) -> None:
    """Also where the server knows how long: it then planned to read all of the queue for each claim."""
    waiting, taken = 20_000, 32
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute(
            "INSERT INTO gateway_queue"
            " SELECT n, 1, 'deposit', 100, 2, 'USD', 1, 'payment-' || n, 0, 'pay', 0, false, 1,"
            " now() - interval '1 hour' + n * interval '1 ms' FROM generate_series(1, %s) AS n",
            [waiting],
        )
        owner.execute("ANALYZE gateway_queue")
    claim = {"limit": taken, "lease": timedelta(seconds=10), "worker": "test"}

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


def test_new_work_wakes_a_sleeping_worker(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It does not wait for its next look around, which here would be in an hour."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, poll_interval_seconds=3600):
        wait_until(lambda: listening(database))
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


def test_a_worker_says_that_it_is_alive_and_when_it_has_stopped(database: Database) -> None:
    """Health and health checks read its row."""
    with working(database, "http://127.0.0.1:1") as worker:
        wait_until(lambda: heartbeats(database) == [("worker", worker.name)])

    assert heartbeats(database) == []


def test_a_worker_whose_slots_are_full_claims_no_more(database: Database, writer: Writer, ledger: Ledger) -> None:
    """What it cannot call at once is left to the others, and it takes the next when a slot is free."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url, concurrency=1):
        payment_ids = [request_deposit(writer) for _ in range(10)]
        wait_until(lambda: queued(database) == 0)

    assert [payment_id for payment_id, _ in gateway.of("POST")] == payment_ids
    assert ledger.payment(payment_ids[-1]).state == "succeeded"


def test_a_lost_database_connection_is_made_anew(database: Database, writer: Writer, ledger: Ledger) -> None:
    """The queue is still there, and the worker goes on with it."""
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url):
        ended(ledger, request_deposit(writer))
        with closing(database.connect(application="test", owner=True)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'payment-ledger worker'"
            )
        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


def test_a_stop_lets_calls_under_way_end(database: Database, writer: Writer, ledger: Ledger) -> None:
    """What the gateway says while the worker stops is still recorded."""
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    with ScriptedGateway(calls=[slowly]) as gateway:
        with working(database, gateway.url, timeout_seconds=10):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(gateway.asked))
            threading.Timer(0.3, answer_now.set).start()

        assert ledger.payment(payment_id).state == "succeeded"


def test_a_stop_does_not_wait_for_ever(
    database: Database, writer: Writer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that takes too long is left to its lease."""
    monkeypatch.setattr("processors.worker.DRAIN_SECONDS", 0.1)
    answer_now = threading.Event()

    def slowly() -> bytes:
        answer_now.wait(WITHIN_SECONDS)
        return OK

    with ScriptedGateway(calls=[slowly]) as gateway:
        with working(database, gateway.url, timeout_seconds=30):
            payment_id = request_deposit(writer)
            wait_until(lambda: bool(gateway.asked))
        answer_now.set()

    assert ledger.payment(payment_id).state == "new"
    assert queued(database) == 1


def heartbeats(database: Database) -> list[tuple[str, str]]:
    with closing(database.connect(application="test")) as connection:
        return connection.execute("SELECT part, instance FROM heartbeats").fetchall()


def listening(database: Database) -> bool:
    with closing(database.connect(application="test", owner=True)) as connection:
        statement = f'LISTEN "{database.schema}_queue"'
        found = connection.execute("SELECT 1 FROM pg_stat_activity WHERE query = %s", [statement]).fetchone()
    return found is not None
