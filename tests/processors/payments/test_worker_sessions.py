"""A worker whose session cannot do its work makes a new one, after a pause, and calls nobody on a doubtful claim."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.application.application import Ledger
from ledger.domain.commands import OpenAccount
from ledger.store.database import Database
from ledger.store.notifications import wake
from ledger.writer.writer import Writer
from processors.payments.retry_policy import RetryPolicy
from tests.processors.payments.observing import ended, request_deposit
from tests.support.databases import execute, fresh_ledger, suspended
from tests.support.gateways.scripted import OK, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import working


def test_a_right_that_was_withdrawn_does_not_end_a_worker(database: Database, writer: Writer, ledger: Ledger) -> None:
    """It goes on when it has the right again, without a restart, and does not spin until then."""
    role = sql.Identifier(database.service_role).as_string()
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url), capture_logs() as logs:
        wait_until(lambda: has_beaten(database))
        execute(database, f"REVOKE UPDATE ON gateway_queue FROM {role}", owner=True)
        payment_id = request_deposit(writer)
        wait_until(lambda: len(interruptions(logs)) > 2)
        execute(database, f"GRANT UPDATE ON gateway_queue TO {role}", owner=True)

        payment = ended(ledger, payment_id)

    assert payment.state == "succeeded"
    assert len(interruptions(logs)) < 50


def test_a_worker_leaves_a_server_that_hangs(
    database: Database, writer: Writer, ledger: Ledger, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes a new session, as after a lost connection, and finds the payment in the queue."""
    monkeypatch.setattr("processors.payments.worker.ANSWER_SECONDS_MAX", 0.5)
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url):
        wait_until(lambda: has_beaten(database))
        with suspended(*pids):
            payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


@pytest.mark.parametrize("sqlstate", ["XX000", "ZZ999"])
def test_an_error_that_may_be_the_servers_does_not_end_a_worker(
    database: Database, writer: Writer, ledger: Ledger, sqlstate: str
) -> None:
    """An internal error, or one that the program does not know, says only that the session is to be made again."""
    failing = (
        "CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN RAISE 'broken' USING ERRCODE = '{sqlstate}'; END $$;"
        "CREATE TRIGGER failing BEFORE UPDATE ON gateway_queue EXECUTE FUNCTION failing()"
    )
    with ScriptedGateway(calls=[OK]) as gateway, working(database, gateway.url), capture_logs() as logs:
        wait_until(lambda: has_beaten(database))
        execute(database, failing, owner=True)
        wait_until(lambda: len(interruptions(logs)) > 2)
        execute(database, "DROP TRIGGER failing ON gateway_queue", owner=True)

        payment = ended(ledger, request_deposit(writer))

    assert payment.state == "succeeded"


def test_an_answer_is_not_lost_while_the_writer_cannot_use_the_store(
    database: Database, writer: Writer, ledger: Ledger
) -> None:
    """The gateway has said it once; the report is written when the log is whole again, and the call is not repeated."""

    def answer() -> bytes:
        execute(database, "CREATE TABLE kept AS SELECT * FROM log_head; DELETE FROM log_head", owner=True)
        return OK

    with ScriptedGateway(calls=[answer]) as gateway, working(database, gateway.url), capture_logs() as logs:
        payment_id = request_deposit(writer)
        wait_until(lambda: any(line["event"] == "writer_failed" for line in logs))
        execute(database, "INSERT INTO log_head SELECT * FROM kept", owner=True)

        payment = ended(ledger, payment_id)

    assert (payment.state, payment.attempt, len(gateway.of("POST"))) == ("succeeded", 1, 1)


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the server's processes for the sessions that workers of this test make."""
    found: list[int] = []
    real = Database.connect_async

    async def noted(self: Database, **settings: Any) -> psycopg.AsyncConnection[Any]:
        connection = await real(self, **settings)
        found.append(connection.info.backend_pid)
        return connection

    monkeypatch.setattr(Database, "connect_async", noted)
    return found


def has_beaten(database: Database) -> bool:
    """Whether a worker is at work."""
    return bool(execute(database, "SELECT 1 FROM heartbeats WHERE part = 'worker'"))


def interruptions(logs: list[Any]) -> list[Any]:
    """The lines of a log about an interrupted worker."""
    return [line for line in logs if line["event"] == "worker_interrupted"]


# --- a standby that is away ------------------------------------------------------------------------------------------

WAITING_WORKER = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'payment-ledger worker'
"""


@contextmanager
def without_its_standby(owner: psycopg.Connection[Any]) -> Iterator[None]:
    """Let each COMMIT wait for a standby that does not exist."""
    owner.execute("SET synchronous_commit = local")
    owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    owner.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
        owner.execute("SELECT pg_reload_conf()")


LETS_IT_WAIT = RetryPolicy(cap_seconds=2 * 86_400.0)
"""With a shorter one the worker would bound the wait of the payment, and claim it before the standby is away."""


def cancel_waits(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


def test_no_call_begins_on_a_claim_that_only_the_primary_has(tmp_path: Path) -> None:
    """A fail-over would forget that the attempt was counted, so the claim is left to its lease."""
    with (
        EmbeddedPostgres(tmp_path, create=True) as url,
        fresh_ledger(url) as database,
        ScriptedGateway(calls=[OK], inquiries=[]) as gateway,
        closing(database.connect(application="test", owner=True)) as owner,
    ):
        given_a_payment(database)
        owner.execute("UPDATE gateway_queue SET due_at = now() + interval '1 day'")
        with working(database, gateway.url, lease_seconds=600, policy=LETS_IT_WAIT):
            # The first heartbeat too would wait for the standby, and no other session sees it until then.
            wait_until(lambda: has_beaten(database))
            with without_its_standby(owner):
                # The next heartbeat waits: the worker's session knows that the standby is away.
                wait_until(lambda: owner.execute(WAITING_WORKER).fetchall() != [])
                owner.execute("UPDATE gateway_queue SET due_at = now()")
                wake(owner, database, "queue")
                wait_until(lambda: claimed(owner))
                wait_until(lambda: not waiting(owner))
        assert gateway.asked == []


def claimed(owner: psycopg.Connection[Any]) -> bool:
    """Cancel each wait for the standby; tell whether the payment is claimed now."""
    cancel_waits(owner)
    return owner.execute("SELECT attempt FROM gateway_queue").fetchall() == [(1,)]


def waiting(owner: psycopg.Connection[Any]) -> bool:
    """Cancel each wait for the standby, and tell whether there was one."""
    cancel_waits(owner)
    return bool(owner.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchall())


def given_a_payment(database: Database) -> None:
    """Open an account with a deposit that waits for its call."""
    writer = Writer(database)
    writer.start()
    try:
        writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result(30)
        request_deposit(writer)
    finally:
        writer.stop()
