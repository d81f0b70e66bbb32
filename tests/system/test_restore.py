"""A store that has lost its last commits, by a restore or a promoted standby, neither fails nor doubles a payment.

The gateway remembers what the store has forgotten: it refuses a call that it has had before, or turns it away, and
tells the truth when it is asked.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final

import psycopg
import pytest

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount, RequestWithdrawal
from ledger.domain.payment import Payment
from ledger.recovery.recover import recover, recover_if_behind
from ledger.store.database import Database
from ledger.store.migrate import migrate
from ledger.writer.writer import Writer
from projections.models.registry import FOLLOWERS
from tests.support.gateways.misbehaving import http
from tests.support.gateways.scripted import BUSY, OK, ScriptedGateway
from tests.support.servers.clusters import kill_server, restore_to, run, take_base_backup, wait_until
from tests.support.workers import working

pytestmark = pytest.mark.timeout(300)

WITHIN_SECONDS: Final = 60.0
DUPLICATE: Final = http("422 Unprocessable Content", b'{"status":"declined","reason":"duplicate"}')

Step = Callable[[], object]


@contextmanager
def writing(database: Database) -> Iterator[Writer]:
    writer = Writer(database)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def open_account(writer: Writer) -> int:
    command = OpenAccount(command_id="o", opening=Decimal(1_000), currency="USD")
    return writer.submit(command).result(WITHIN_SECONDS).account_id


def pay_out(writer: Writer) -> int:
    command = RequestWithdrawal(command_id="w", account_id=1, amount=Decimal(50), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS).payment_id


def ended(ledger: Ledger, payment_id: int) -> Payment:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not ledger.payment(payment_id).ended:
        assert time.monotonic() < deadline, ledger.payment(payment_id)
        time.sleep(0.02)
    return ledger.payment(payment_id)


class Story:
    """The events on the first server: some of them reach the second one, and the rest are lost."""

    def __init__(self, gateway: ScriptedGateway) -> None:
        self.gateway = gateway
        self.kept: int
        self.lost: list[int]
        self.lost_account: int

    def tell(self, url: str, *, forget: Step) -> None:
        """Accept a payment; after `forget`, it succeeds, and another account and another payment are made."""
        database = Database(url)
        migrate(database, followers=FOLLOWERS)
        with writing(database) as writer, Ledger(database) as ledger:
            open_account(writer)
            self.kept = pay_out(writer)
            forget()
            with working(database, self.gateway.url):
                self.lost = [pay_out(writer) for _ in range(3)]
                self.lost_account = open_account(writer)
                for payment_id in (self.kept, *self.lost):
                    assert ended(ledger, payment_id).state == "succeeded"

    def check(self, url: str) -> None:
        """Let a worker go on with the second server, and compare it with what the gateway knows."""
        database = Database(url)
        with working(database, self.gateway.url), writing(database) as writer, Ledger(database) as ledger:
            kept, new, new_account = ended(ledger, self.kept), pay_out(writer), open_account(writer)
            assert ended(ledger, new).state == "succeeded"

        assert (kept.state, kept.ended_by) == ("succeeded", "inquiry")
        assert new > max(self.lost)
        assert new_account > self.lost_account
        keys = {key for seen, key in self.gateway.of("POST") if seen == new}
        assert len(keys) == 1
        assert keys.isdisjoint(key for seen, key in self.gateway.of("POST") if seen != new)
        assert verify_store(database).errors == []


@pytest.fixture(params=[[OK, DUPLICATE], [OK, BUSY]], ids=["refuses a repetition", "turns it away"])
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    """Yield a story with a gateway that pays once, and answers no repetition of a call as it answered the call."""
    with ScriptedGateway(calls=request.param, inquiries=[OK]) as gateway:
        yield Story(gateway)


def test_a_store_that_is_restored_to_a_moment_asks_before_it_fails(tmp_path: Path, story: Story) -> None:
    """A base back-up and the archived WAL, up to a moment before the payment was made."""
    first, second = tmp_path / "first", tmp_path / "second"
    with EmbeddedPostgres(first, create=True) as url:
        cluster = take_base_backup(url, first, second)
        story.tell(url, forget=lambda: run(url, "SELECT pg_create_restore_point('here')"))
        run(url, "SELECT pg_switch_wal()")
        restore_to(cluster, source=first, restore_point="here")

    with EmbeddedPostgres(second) as url:
        wait_until(url, "SELECT NOT pg_is_in_recovery()")
        story.check(url)


def test_a_promoted_standby_that_lost_commits_asks_before_it_fails(tmp_path: Path, story: Story) -> None:
    """An asynchronous standby had not received the last commits when its primary died."""
    first, second = tmp_path / "first", tmp_path / "second"
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedPostgres(first, create=True))
        take_base_backup(primary, first, second, standby=True)
        standby = stack.enter_context(EmbeddedPostgres(second))

        def cut_off() -> None:
            ((position,),) = run(primary, "SELECT pg_current_wal_lsn()::text")
            wait_until(standby, f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn")
            run(standby, "ALTER SYSTEM SET primary_conninfo = ''")
            run(standby, "SELECT pg_reload_conf()")
            wait_until(primary, "SELECT count(*) = 0 FROM pg_stat_replication")

        story.tell(primary, forget=cut_off)
        kill_server(first)
        with pytest.raises(psycopg.OperationalError):  # a standby cannot tell its timeline, and is not written to
            recover_if_behind(Database(standby))
        run(standby, "SELECT pg_promote()")
        story.check(standby)


def test_a_copy_of_the_files_asks_after_it_was_told(tmp_path: Path, story: Story) -> None:
    """Nothing in the database tells it from the store that it was taken from, so an operator has to."""
    first, second = tmp_path / "first", tmp_path / "second"
    with EmbeddedPostgres(first, create=True) as url:
        story.tell(url, forget=lambda: take_base_backup(url, first, second))

    with EmbeddedPostgres(second) as url:
        recover(Database(url), why="restored")
        story.check(url)
