"""A rebuild while others are at work: it disturbs nobody, and gives way, and may be killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from decimal import Decimal
from typing import Any, Final

import psycopg
import psycopg.errors
import pytest

from ledger.domain.commands import OpenAccount, RequestDeposit
from ledger.store.database import Database
from ledger.writer.writer import Writer
from projections.contract.log_page import read_page
from projections.contract.table_names import LIVE
from projections.engine import rebuild as rebuilding
from projections.engine.projector import Projector
from projections.engine.rebuild import Stage, rebuild
from projections.errors import RebuildUnderWay
from projections.models.registry import GROUPS
from tests.support.histories import append_rows
from tests.support.read_models import MOVED, append_and_apply, caught_up, copies, dump, running, shape, some_history
from tests.support.waiting import wait_until

WAITING_FOR_A_LOCK: Final = """
    SELECT 1 FROM pg_stat_activity
     WHERE application_name = 'payment-ledger rebuild' AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'
       AND pid IN (SELECT pid FROM pg_locks WHERE relation = (current_schema() || '.projection_tracking')::regclass)
"""


def test_the_service_goes_on_while_all_is_rebuilt(database: Database, writer: Writer) -> None:
    """Payments come in, projectors follow and clients read, through several swaps; no reader sees an error."""
    opening = writer.submit(OpenAccount(command_id="c", opening=Decimal(1000), currency="USD")).result()
    request = RequestDeposit(command_id="c", account_id=opening.account_id, amount=Decimal(2), fee_rate_ppm=20_000)
    stopping, failures, reads = threading.Event(), [], [0]

    def keep_requesting() -> None:
        while not stopping.is_set():
            writer.submit(request).result()

    def keep_reading() -> None:
        with closing(database.connect(application="payment-ledger tests")) as client:
            before = 0
            while not stopping.is_set():
                try:
                    row = client.execute("SELECT count(*) FROM payment_status", prepare=True).fetchone()
                    assert row is not None
                    assert row[0] >= before
                    before, reads[0] = row[0], reads[0] + 1
                except Exception as error:  # noqa: BLE001 - whatever it is, the test has to tell it
                    failures.append(error)
                    return

    threads = [threading.Thread(target=target) for target in (keep_requesting, keep_reading)]
    with running(Projector(database)), closing(database.connect(application="payment-ledger tests")) as connection:
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                assert rebuild(database, page_max=50).clean
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        wait_until(lambda: caught_up(connection))

    assert failures == []
    assert reads[0] > 0
    assert rebuild(database, check_only=True).clean


def test_what_a_projector_applies_while_it_is_waited_for_is_compared_as_well(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """The log has moved on, too, since the rebuild began to wait: nothing of that is a difference."""
    history = some_history()
    append_and_apply(owner, history)
    later = some_history(30).rows[len(history.rows) :]
    done: list[rebuilding.Rebuilding] = []
    checking = threading.Thread(target=lambda: done.append(rebuild(database, check_only=True)))
    with closing(database.connect(application="payment-ledger tests")) as projector:
        with projector.transaction():
            projector.execute("SELECT * FROM projection_tracking FOR UPDATE")
            checking.start()
            wait_until(lambda: owner.execute(WAITING_FOR_A_LOCK).fetchone() is not None)
            append_rows(owner, later)
            page = read_page(projector, after=len(history.rows), size=len(later))
            for group in GROUPS:
                group.apply(projector, page.events, LIVE)
            projector.execute(MOVED)
        checking.join()

    assert done[0].position == len(history.rows) + len(later)
    assert done[0].clean


def test_a_reader_in_a_long_transaction_is_waited_for(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The swap gives way, and is tried again until the reader is done."""
    append_and_apply(owner, some_history())
    attempts: list[int] = []
    with closing(database.connect(application="payment-ledger tests")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM journal_entry")

        def note(stage: Stage, done: int, _total: int) -> None:
            if stage == "swapping":
                attempts.append(done)
                if done == 2:
                    reader.execute("COMMIT")

        done = rebuild(database, progress=note)

    assert done.swapped
    assert attempts[:2] == [1, 2]


def test_what_was_applied_under_the_lock_is_applied_again_when_the_swap_gives_way(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A swap that is rolled back takes with it what it had applied."""
    history = some_history()
    append_and_apply(owner, history)
    rows = dump(owner)
    later = some_history(30).rows[len(history.rows) :]
    with closing(database.connect(application="payment-ledger tests")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM journal_entry")

        def follow_meanwhile(stage: Stage, done: int, _total: int) -> None:
            if stage == "swapping" and done == 1:
                append_rows(owner, later)
                apply_singly_from(owner, len(history.rows), len(history.rows) + len(later))
                owner.execute(MOVED)
            if stage == "swapping" and done == 2:
                reader.execute("COMMIT")

        rebuild(database, progress=follow_meanwhile)

    assert rows != dump(owner)
    assert rebuild(database, check_only=True).clean


def apply_singly_from(owner: psycopg.Connection[Any], after: int, upto: int) -> None:
    """Apply the events after a position, as a projector does during a rebuild."""
    for position in range(after, upto):
        with owner.transaction():
            for group in GROUPS:
                page = read_page(owner, after=position, size=1)
                group.apply(owner, page.events, "")


def test_a_view_on_a_table_is_named_and_nothing_is_swapped(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The rebuild does not drop the view of another owner."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    owner.execute("CREATE VIEW of_an_operator AS SELECT * FROM journal_posting")

    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="of_an_operator"):
        rebuild(database)

    assert rows == dump(owner)


def test_two_rebuilds_at_once_exclude_each_other(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The second is refused, and the first is not disturbed."""
    append_and_apply(owner, some_history())
    refused: list[bool] = []

    def rebuild_again(stage: Stage, _done: int, _total: int) -> None:
        if stage == "comparing" and not refused:
            with pytest.raises(RebuildUnderWay):
                rebuild(database)
            refused.append(True)

    assert rebuild(database, progress=rebuild_again).clean

    assert refused == [True]


_REBUILD_UNTIL_KILLED: Final = """
import sys, time
from ledger.store.database import Database
from projections.engine.rebuild import rebuild
def tell(stage, done, total):
    if stage == sys.argv[3]:
        print(stage, flush=True)
        time.sleep(600)
rebuild(Database(sys.argv[1], sys.argv[2]), page_max=20, progress=tell)
"""


@pytest.mark.parametrize("stage", ["applying", "indexing", "comparing", "swapping"])
def test_a_killed_rebuild_has_changed_nothing_and_can_be_run_again(
    database: Database, owner: psycopg.Connection[Any], stage: str
) -> None:
    """Killed at any stage, it leaves copies at most, and the next one clears them away."""
    append_and_apply(owner, some_history())
    rows, form = dump(owner), shape(owner)
    command = [sys.executable, "-c", _REBUILD_UNTIL_KILLED, database.url, database.schema, stage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == f"{stage}\n"
        os.kill(killed.pid, signal.SIGKILL)
    assert rows == dump(owner)
    assert copies(owner) != []

    done = rebuild_when_free(database)

    assert done.clean
    assert (rows, form, []) == (dump(owner), shape(owner), copies(owner))


def test_a_rebuild_that_loses_the_database_can_be_run_again(database: Database, owner: psycopg.Connection[Any]) -> None:
    """It says so and leaves copies at most, which the next one clears away."""
    append_and_apply(owner, some_history())
    rows = dump(owner)

    def cut_off(_stage: Stage, _done: int, _total: int) -> None:
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint ="
            " hashtextextended('payment-ledger rebuild ' || current_schema(), 0) & 4294967295"
        )

    with pytest.raises(psycopg.OperationalError):
        rebuild(database, progress=cut_off)

    assert rows == dump(owner)
    assert rebuild_when_free(database).clean


def rebuild_when_free(database: Database) -> rebuilding.Rebuilding:
    """Rebuild as soon as the server has noticed that the killed one is gone."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return rebuild(database)
        except RebuildUnderWay:
            assert time.monotonic() < deadline
            time.sleep(0.01)
