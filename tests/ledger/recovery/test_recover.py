"""Recovery: no number is given twice, every open call counts as begun, and the audit knows of it."""

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.identifiers import ID_MAX, LEDGER_STREAM, SEQUENCE_MAX, SLOTS, payment_id
from ledger.errors import LogBroken, NumbersUsedUp, StoreInactive
from ledger.export.exporter import export_to_stream
from ledger.export.importer import import_log
from ledger.operation.gateway import change_gateway
from ledger.recovery.noted_head import NotedHead
from ledger.recovery.recover import (
    LEASED_BY,
    NUMBERS_A_SECOND_MAX,
    SKIP_MAX,
    SKIP_MIN,
    Recovery,
    default_skip,
    next_numbers,
    recover,
    recover_if_behind,
    recover_within,
)
from ledger.recovery.server import server_of
from ledger.store.database import Database
from ledger.store.log import Head
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.histories import History, append_rows
from tests.support.ledgers.busy import fill
from tests.support.ledgers.paper import BEGINNING
from tests.support.ledgers.recovering import open_account, recoveries, request

WITHIN_SECONDS = 30.0


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_go_on_after_a_gap(database: Database, writer: Writer) -> None:
    """Accounts skip whole rounds of slots, so that a partition goes on with its own. The audit accepts the gap."""
    open_account(writer)
    request(writer)

    done = recover(database, why="restored", skip=5_000)

    assert (done.next_account_id, done.next_payment_sequence) == (2 + 5 * SLOTS, 1 + 5_000)
    assert open_account(writer) == 2 + 5 * SLOTS
    assert request(writer).payment_id == payment_id(5_001, 1)
    assert verify_store(database).errors == []


@pytest.mark.parametrize(
    ("behind", "skip"),
    [
        (timedelta(days=-1), SKIP_MAX),
        (timedelta(seconds=-30), SKIP_MIN),
        (timedelta(0), SKIP_MIN),
        (timedelta(hours=1), SKIP_MIN + 3_600 * NUMBERS_A_SECOND_MAX),
        (timedelta(days=700), SKIP_MAX),
    ],
)
def test_the_gap_holds_all_numbers_since_a_time(behind: timedelta, skip: int) -> None:
    """A ledger cannot have given more in that time. A clock that was set back does not tell how long it was."""
    assert default_skip(BEGINNING, now=BEGINNING + behind) == skip


def test_the_gap_holds_all_numbers_since_a_noted_head() -> None:
    """The head is young when somebody wrote to the restored store before it was recovered."""
    head = Head(7, b"", BEGINNING, 3, 5)
    noted = NotedHead(
        position=90, digest="", at=BEGINNING - timedelta(hours=1), next_account_id=40, next_payment_sequence=10_000_000
    )

    accounts, payments = next_numbers(head, head.at, skip=None, noted_head=noted, now=BEGINNING)

    since = SKIP_MIN + 3_600 * NUMBERS_A_SECOND_MAX
    assert payments == 10_000_000 + since
    assert accounts >= 40 + since
    assert (accounts - 3) % SLOTS == 0
    assert next_numbers(head, head.at, skip=0, noted_head=noted, now=BEGINNING) == (3, 5)


def test_a_pause_after_a_restore_makes_the_gap_no_smaller(
    database: Database, connection: psycopg.Connection[Any]
) -> None:
    """A careful operator pauses the gateway first, and that event is young."""
    history = History()
    history.open()
    append_rows(connection, history.rows)
    last = recover_if_behind(database)

    change_gateway(database, "paused", why="it was restored", by="Ada")
    done = recover(database, why="restored")

    assert last is None
    assert done.skipped >= default_skip(BEGINNING, now=BEGINNING + timedelta(days=7))


@pytest.mark.parametrize("numbers", [(ID_MAX, 0), (1, SEQUENCE_MAX)])
def test_a_gap_beyond_the_last_number_is_refused(numbers: tuple[int, int]) -> None:
    """The event would be one that no audit accepts, and every later request would fail."""
    head = Head(7, b"", BEGINNING, *numbers)

    assert next_numbers(head, head.at, skip=0, noted_head=None, now=BEGINNING) == numbers
    with pytest.raises(NumbersUsedUp):
        next_numbers(head, head.at, skip=1, noted_head=None, now=BEGINNING)


def test_a_reason_that_no_audit_accepts_is_refused(database: Database) -> None:
    """The log would be broken for good."""
    with pytest.raises(AssertionError):
        recover(database, why="")
    assert verify_store(database).errors == []


def test_every_recovery_leaves_a_gap_of_its_own(database: Database, writer: Writer) -> None:
    """Events lost after the first recovery are as unknown as before."""
    open_account(writer)
    done = [recover(database, why="restored", skip=10) for _ in range(3)]

    assert [each.next_payment_sequence for each in done] == [10, 20, 30]
    assert [each.next_account_id for each in done] == [2 + SLOTS * times for times in (1, 2, 3)]
    assert verify_store(database).errors == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("next_account_id = next_account_id + 1024", "the head's counters do not match"),
        ("next_payment_sequence = next_payment_sequence + 1", "the head's counters do not match"),
    ],
)
def test_a_gap_without_a_recovery_is_found(
    database: Database, writer: Writer, connection: psycopg.Connection[Any], change: str, what: str
) -> None:
    """Only the event makes a gap a right one."""
    open_account(writer)
    recover(database, why="restored", skip=10)
    connection.execute(f"UPDATE log_head SET {change}".encode())

    (error,) = verify_store(database).errors

    assert error.what.startswith(what)


# --- open calls ------------------------------------------------------------------------------------------------------


def test_open_calls_count_as_begun(database: Database, writer: Writer, connection: psycopg.Connection[Any]) -> None:
    """A call that is not due yet too, because the lost time may have made it. A lease and an inquiry stay."""
    fill(writer)
    connection.execute(
        "UPDATE gateway_queue SET attempt = attempt + 1, leased_until = now() + interval '1 hour', leased_by = 'living'"
        " WHERE payment_id = (SELECT min(payment_id) FROM gateway_queue WHERE action = 'pay')"
    )
    columns = "payment_id, action, attempt, leased_by, due_at"
    ask = f"SELECT {columns} FROM gateway_queue ORDER BY payment_id".encode()
    before = connection.execute(ask).fetchall()

    done = recover(database, why="restored")

    begun = [row for row in before if row[1] == "pay" and row[3] is None]
    assert done.calls == len(begun) > 0
    assert any(row[4] > datetime.now(UTC) for row in begun)
    assert connection.execute(ask).fetchall() == [
        (*row[:2], row[2] + 1, LEASED_BY, row[4]) if row in begun else row for row in before
    ]
    assert verify_store(database).errors == []


# --- the server ------------------------------------------------------------------------------------------------------


def test_a_store_notes_its_server_once(database: Database, writer: Writer, connection: psycopg.Connection[Any]) -> None:
    """A new store, and one of an earlier program, cannot know where it was. A store that stays is left alone."""
    first, second = recover_if_behind(database), recover_if_behind(database)
    open_account(writer)

    assert (first, second, recoveries(connection)) == (None, None, 0)
    assert connection.execute("SELECT server FROM store_origin").fetchall() == [(server_of(connection),)]


@pytest.mark.parametrize("by", ["writer", "function", "pause"])
def test_a_store_on_another_server_is_recovered_before_it_is_written(
    database: Database, connection: psycopg.Connection[Any], by: str
) -> None:
    """The first process that connects does it, once."""
    recover_if_behind(database)
    connection.execute("UPDATE store_origin SET server = '7/00000001'")

    if by == "writer":
        writer = Writer(database)
        writer.start()
        numbers = [open_account(writer) for _ in range(2)]
        writer.stop()
        assert numbers[0] > SKIP_MIN
        assert numbers[1] == numbers[0] + 1
    elif by == "pause":
        change_gateway(database, "paused", why="it was restored", by="Ada")
    else:
        with ThreadPoolExecutor(4) as pool:
            done = [each for each in pool.map(recover_if_behind, [database] * 4) if each is not None]
        assert len(done) == 1

    assert recoveries(connection) == 1
    ((state,),) = connection.execute(
        "SELECT convert_from(state, 'UTF8')::jsonb->'data'->>'why' FROM events WHERE topic = 'ledger.recovered'"
    ).fetchall()
    assert state == f"the store was on the server 7/00000001 and is on {server_of(connection)} now"
    assert verify_store(database).errors == []


def test_a_server_that_does_not_tell_who_it_is_is_not_compared(database: Database, writer: Writer) -> None:
    """A hosted Postgres may keep that to itself. A recovery by hand is done, and notes no server."""
    open_account(writer)
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("BEGIN")
        owner.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        owner.execute(f"SET LOCAL ROLE {database.service_role}")
        assert server_of(owner) is None

    with closing(database.connect(application="test")) as connection, connection.transaction():
        recover_within(connection, why="restored", skip=0, server=None)
    assert recover_if_behind(database) is None


def test_a_store_without_numbers_is_not_written(
    database: Database, writer: Writer, connection: psycopg.Connection[Any]
) -> None:
    """An operator must recover it, with a smaller gap. The connection of each try is closed."""
    open_account(writer)
    writer.stop()
    recover_if_behind(database)
    connection.execute("UPDATE store_origin SET server = '7/00000001'")
    connection.execute("UPDATE log_head SET next_payment_sequence = %s", (SEQUENCE_MAX,))
    hopeful = Writer(database)
    hopeful.start()

    with pytest.raises(NumbersUsedUp):
        open_account(hopeful)

    left = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'payment-ledger writer' AND query LIKE %s"
    assert connection.execute(left, (f"%{database.schema}%",)).fetchall() == []


def test_a_recovery_notes_the_server(database: Database, connection: psycopg.Connection[Any]) -> None:
    """So a recovery by hand is not done a second time."""
    recover_if_behind(database)
    connection.execute("UPDATE store_origin SET server = '7/00000001'")

    recover(database, why="restored")

    assert recover_if_behind(database) is None
    assert recoveries(connection) == 1


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_recovered_log_can_be_exported_and_imported(database: Database, writer: Writer, postgres_url: str) -> None:
    """The copy counts on from the same numbers."""
    fill(writer)
    recover(database, why="restored", skip=10)
    open_account(writer)
    exported = io.BytesIO()
    export_to_stream(database, exported)
    exported.seek(0)

    with fresh_ledger(postgres_url) as copy:
        import_log(copy, exported)

        assert verify_store(copy).errors == []
        with closing(copy.connect(application="test")) as there, closing(database.connect(application="test")) as here:
            heads = [
                each.execute("SELECT position, next_account_id, next_payment_sequence FROM log_head").fetchall()
                for each in (here, there)
            ]
    assert heads[0] == heads[1]


def test_a_recovery_can_be_read_like_any_event(database: Database) -> None:
    """Through the application, by its stream."""
    recover(database, why="restored from Tuesday", skip=10)

    with Ledger(database) as ledger:
        (placed,) = ledger.stream(LEDGER_STREAM)

    assert (placed.position, placed.recorded.data.why) == (1, "restored from Tuesday")


def test_a_copy_is_not_recovered(database: Database, connection: psycopg.Connection[Any]) -> None:
    """It takes no payments. Putting it in charge recovers it."""
    recover_if_behind(database)
    connection.execute("UPDATE store_origin SET server = '7/00000001'")
    connection.execute("UPDATE log_head SET inactive = true")

    with pytest.raises(StoreInactive):
        recover(database, why="restored")

    assert recover_if_behind(database) is None
    assert recoveries(connection) == 0


def test_a_store_without_its_head_is_named(database: Database, connection: psycopg.Connection[Any]) -> None:
    """Nothing can be recovered then."""
    connection.execute("DELETE FROM log_head")

    with pytest.raises(LogBroken, match="the head is missing"):
        recover(database, why="restored")


def test_what_was_done_is_told(database: Database, writer: Writer) -> None:
    """For the operator who asked for it."""
    open_account(writer)

    assert recover(database, why="restored", skip=0) == Recovery(
        position=2, skipped=0, next_account_id=2, next_payment_sequence=0, calls=0
    )
