"""A rebuild on a real database: it finds what is wrong, puts it right, and disturbs nobody."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any, Final

import psycopg
import psycopg.errors
import pytest
from hypothesis import HealthCheck, given, settings

from ledger.commands import OpenAccount, RequestDeposit
from ledger.database import Database
from ledger.writer import Writer
from projections import rebuild as rebuilding
from projections.errors import EventNotApplicable, ReadModelsChanged, RebuildUnderWay
from projections.groups import GROUPS
from projections.page import read_page
from projections.projector import Projector
from projections.rebuild import RowDifference, Stage, rebuild
from projections.tables import LIVE, REBUILT, TABLES
from tests.projections.histories import History, append_rows, histories
from tests.projections.test_projector import apply_singly, caught_up, dump, empty, running, some_history, wait_until

MOVED: Final = "UPDATE tracking SET position = (SELECT position FROM head)"
WAITING_FOR_A_LOCK: Final = """
    SELECT 1 FROM pg_stat_activity
     WHERE application_name = 'payment-ledger rebuild' AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'
       AND pid IN (SELECT pid FROM pg_locks WHERE relation = (current_schema() || '.tracking')::regclass)
"""


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may do what the service may not."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        yield connection


def append_and_apply(owner: psycopg.Connection[Any], history: History) -> None:
    """Have a history in the log and in the read models."""
    append_rows(owner, history.rows)
    apply_singly(owner, len(history.rows))
    owner.execute(MOVED)


def shape(owner: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """All that makes up the tables but their rows."""
    return owner.execute(rebuilding.SQL["read_shape"], {"tables": list(TABLES)}).fetchall()


def copies(owner: psycopg.Connection[Any]) -> list[str]:
    """The copies that are there."""
    rows = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE %s",
        [f"%{REBUILT}"],
    )
    return [name for (name,) in rows]


# --- what it finds ---------------------------------------------------------------------------------------------------


def test_a_rebuild_of_what_is_right_finds_no_difference(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Rows, form, grants and tracking are afterwards what they were before."""
    history = some_history()
    append_and_apply(owner, history)
    rows, form = dump(owner), shape(owner)

    done = rebuild(database)

    assert done.clean
    assert (done.swapped, done.position) == (True, len(history.rows))
    assert [difference.table for difference in done.differences] == list(TABLES)
    assert rows == dump(owner)
    assert form == shape(owner)
    assert copies(owner) == []


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(steps_max=40))
def test_whatever_happened_is_rebuilt_as_it_was(
    database: Database, owner: psycopg.Connection[Any], history: History
) -> None:
    """Incremental and rebuilt read models are the same, for any history and small pages."""
    empty(owner)
    append_and_apply(owner, history)
    rows = dump(owner)

    done = rebuild(database, page_max=5)

    assert done.clean, done.differences
    assert rows == dump(owner)


def damage(owner: psycopg.Connection[Any]) -> None:
    """Change a row, take one away and add one."""
    owner.execute("UPDATE account_balance SET posted_minor = posted_minor + 1 WHERE account_id = 1")
    owner.execute("DELETE FROM journal WHERE position = 1")
    owner.execute("INSERT INTO counters VALUES ('never_counted', 5)")


def test_differences_are_told_row_by_row_and_mended(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A changed, a missing and a surplus row are each named with both sides, and gone after the swap."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    damage(owner)

    done = rebuild(database)

    found = {difference.table: difference for difference in done.differences if difference.differing}
    assert {name: (d.differing, d.missing, d.surplus) for name, d in found.items()} == {
        "account_balance": (1, 0, 0),
        "journal": (1, 1, 0),
        "counters": (1, 0, 1),
    }
    changed = found["account_balance"].examples[0]
    assert changed.live is not None
    assert changed.rebuilt is not None
    assert changed.live["posted_minor"] == changed.rebuilt["posted_minor"] + 1
    assert found["journal"].examples[0].live is None
    assert found["counters"].examples == [RowDifference(live={"name": "never_counted", "value": 5}, rebuilt=None)]
    assert not done.clean
    assert rows == dump(owner)


def test_only_the_first_differences_are_shown_and_all_are_counted(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A table that is wrong everywhere does not flood whoever looks."""
    append_and_apply(owner, some_history(40))
    owner.execute("UPDATE payment_status SET attempts = attempts + 1")

    done = rebuild(database, check_only=True, examples_max=3)

    (difference,) = [difference for difference in done.differences if difference.differing]
    assert (difference.table, difference.differing, len(difference.examples)) == ("payment_status", 40, 3)


def test_checking_changes_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """What is wrong stays as it is, to be looked at."""
    append_and_apply(owner, some_history())
    damage(owner)
    rows = dump(owner)

    done = rebuild(database, check_only=True)

    assert (done.clean, done.swapped) == (False, False)
    assert rows == dump(owner)
    assert copies(owner) == []


def test_read_models_that_are_behind_are_compared_where_they_stand(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Being behind is no difference, whichever group is; the swapped ones are up to date."""
    history = some_history()
    append_and_apply(owner, history)
    rows = dump(owner)
    empty(owner)
    append_rows(owner, history.rows)
    apply_singly(owner, 30)
    owner.execute("UPDATE tracking SET position = 30")

    done = rebuild(database, page_max=7)

    assert done.clean
    assert {difference.position for difference in done.differences} == {30}
    assert done.position == len(history.rows)
    assert rows == dump(owner)
    assert owner.execute("SELECT DISTINCT position FROM tracking").fetchall() == [(done.position,)]


def test_read_models_that_are_further_than_the_log_are_brought_back(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """What the log does not know is a difference, and gone after the swap."""
    history = some_history()
    append_and_apply(owner, history)
    owner.execute("DELETE FROM events WHERE notification_id > 40; UPDATE head SET position = 40")

    done = rebuild(database, page_max=10)

    assert not done.clean
    assert {difference.position for difference in done.differences} == {40}
    assert owner.execute("SELECT DISTINCT position FROM tracking").fetchall() == [(40,)]
    assert owner.execute("SELECT max(position) <= 40 FROM journal").fetchone() == (True,)


def test_a_group_that_is_stopped_behind_the_other_goes_on_after_a_rebuild(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Rows that stand in the way of an event are the usual cause of a stop, and a rebuild is the cure."""
    history, more = some_history(), some_history(30)
    append_rows(owner, history.rows)
    owner.execute("INSERT INTO journal SELECT 9, 1, NULL, 'USD', 0, 0, 0, 0, 0, now()")
    guilty = next(p for p, recorded in history.events if recorded.data.TOPIC == "account.debited")
    owner.execute("UPDATE journal SET position = %s", [guilty])

    with running(Projector(database, pause_seconds_min=600.0)):
        wait_until(lambda: stopped_at(owner) == [("counters", None), ("read_models", guilty)])
        wait_until(lambda: owner.execute("SELECT max(position) FROM tracking").fetchone() == (len(history.rows),))
        done = rebuild(database, page_max=10)
        append_rows(owner, more.rows[len(history.rows) :])
        wait_until(lambda: caught_up(owner))

    assert [(d.table, d.surplus) for d in done.differences if d.differing] == [("journal", 1)]
    assert {d.table: d.position for d in done.differences}["journal"] == guilty - 1
    assert stopped_at(owner) == [("counters", None), ("read_models", None)]
    assert rebuild(database, check_only=True).clean


def stopped_at(owner: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """What stops each group."""
    return owner.execute("SELECT name, stopped_at_position FROM tracking ORDER BY name").fetchall()


def test_the_planner_knows_how_much_was_made_from_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """As after an import: the live tables are empty, and all rows come after the comparison with them."""
    append_rows(owner, some_history().rows)

    rebuild(database)

    known = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'payment_status'::regclass"
    assert owner.execute(known).fetchone() == owner.execute("SELECT count(*) FROM payment_status").fetchone() != (0,)


def test_an_empty_ledger_can_be_rebuilt(database: Database) -> None:
    """There is nothing to apply and nothing to differ."""
    done = rebuild(database)

    assert (done.clean, done.swapped, done.position) == (True, True, 0)


def test_an_event_that_no_model_can_take_ends_the_rebuild(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Its position is named, and the live tables stay."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    owner.execute("UPDATE events SET topic = 'payment.unheard_of' WHERE notification_id = 9")

    with pytest.raises(EventNotApplicable) as refused:
        rebuild(database)

    assert refused.value.position == 9
    assert rows == dump(owner)
    assert copies(owner) == []


# --- form ------------------------------------------------------------------------------------------------------------


def test_what_operators_have_given_to_a_table_is_kept(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Indexes, options and grants that no migration of ours has made, on columns too; the service may still write."""
    owner.execute("CREATE UNIQUE INDEX of_an_operator ON journal (at, position) WHERE fee_revenue_minor <> 0")
    owner.execute("ALTER TABLE journal SET (autovacuum_enabled = false, fillfactor = 95)")
    owner.execute("GRANT SELECT ON journal TO PUBLIC")
    owner.execute("GRANT SELECT (name) ON counters TO PUBLIC")
    form = shape(owner)
    append_rows(owner, some_history().rows)

    rebuild(database)

    assert form == shape(owner)
    assert any(row[2] == "of_an_operator" for row in form)
    with closing(database.connect(application="payment-ledger tests")) as service:
        service.execute("DELETE FROM dead_letter")


def test_tables_of_another_owner_keep_him(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A superuser may rebuild what belongs to somebody else."""
    owner.execute(f'GRANT CREATE ON SCHEMA "{database.schema}" TO "{database.service_role}"')
    owner.execute(f'ALTER TABLE counters OWNER TO "{database.service_role}"')
    owner.execute("GRANT SELECT ON counters TO PUBLIC")
    form = shape(owner)

    rebuild(database)

    assert form == shape(owner)


def test_tables_that_change_their_form_meanwhile_are_not_replaced(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A migration that comes in between wins, and the rebuild says so."""
    append_and_apply(owner, some_history())

    def migrate_in_between(stage: Stage, _done: int, _total: int) -> None:
        if stage == "swapping":
            owner.execute("ALTER TABLE counters ADD COLUMN IF NOT EXISTS since timestamptz")

    with pytest.raises(ReadModelsChanged):
        rebuild(database, progress=migrate_in_between)

    assert any(row[2] == "since" for row in shape(owner))
    assert copies(owner) == []


# --- with others at work ---------------------------------------------------------------------------------------------


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
            projector.execute("SELECT * FROM tracking FOR UPDATE")
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
    """The swap gives way, and is tried again until he is done."""
    append_and_apply(owner, some_history())
    attempts: list[int] = []
    with closing(database.connect(application="payment-ledger tests")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM journal")

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
        reader.execute("SELECT * FROM journal")

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
    """Apply the events after a position, as a projector that goes on meanwhile."""
    for position in range(after, upto):
        with owner.transaction():
            for group in GROUPS:
                page = read_page(owner, after=position, size=1)
                group.apply(owner, page.events, "")


def test_a_view_on_a_table_is_named_and_nothing_is_swapped(database: Database, owner: psycopg.Connection[Any]) -> None:
    """What is not ours is not dropped behind its owner's back."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    owner.execute("CREATE VIEW of_an_operator AS SELECT * FROM journal")

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
from ledger.database import Database
from projections.rebuild import rebuild
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
