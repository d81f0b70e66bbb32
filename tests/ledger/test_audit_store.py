"""The audit of a whole store: whatever a superuser changes in it is found, and named by its position."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from psycopg import Connection
from psycopg.errors import UniqueViolation

from ledger.audit import NotedHead, verify_seals, verify_store
from ledger.audit_findings import AuditReport
from ledger.database import Database
from ledger.errors import LogBroken
from ledger.writer import Writer
from tests.ledger.busy_ledger import EVENTS, fill
from tests.ledger.kept_store import KeptStore, found, kept_store, rewrite, where

SEED: Final = 20_261
COLUMNS: Final = ("originator_id", "originator_version", "topic", "state", "notification_id", "digest")
Verify = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def busy(postgres_url: str) -> Iterator[KeptStore]:
    """A store with a bit of everything in it."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture
def store(busy: KeptStore) -> Iterator[KeptStore]:
    """The same, as it was."""
    yield busy
    busy.restore()


@pytest.fixture(params=[verify_seals, verify_store], ids=["seals", "store"])
def verify(request: pytest.FixtureRequest) -> Verify:
    """Each kind of audit: what is wrong with the log itself is found by both."""
    kind: Verify = request.param
    return kind


# --- a store as it should be -----------------------------------------------------------------------------------------


def test_a_store_to_which_everything_has_happened_is_proven(store: KeptStore) -> None:
    """All events are counted, and the digest is the head's."""
    report = verify_store(store.database)

    head = store.ask("SELECT position, encode(digest, 'hex') FROM head")[0]
    assert (report.ok, report.errors, report.events) == (True, [], store.events)
    assert (report.position, report.digest) == head


def test_an_empty_store_is_proven(database: Database) -> None:
    """There is nothing in it, and nothing wrong."""
    assert verify_store(database).ok


def test_pages_join(store: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts, payments and what they ask of each other go on from page to page; so do keys and snapshots."""
    for module in ("audit_seals", "audit_keys", "audit_snapshots"):
        monkeypatch.setattr(f"ledger.{module}.PAGE", 1 if module == "audit_snapshots" else 7)
    progress: list[tuple[str, int, int]] = []

    report = verify_store(store.database, on_progress=lambda *done: progress.append(done))

    assert (report.ok, report.errors) == (True, [])
    assert ("events", store.events, store.events) in progress
    assert progress[-1] == ("keys and snapshots", 2, 2)


def test_payments_may_go_on_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every audit sees the log, the queue and the keys of one moment."""
    monkeypatch.setattr("ledger.audit_seals.PAGE", 20)
    writer = Writer(database)
    writer.start()
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            ledger.open()
            ledger.withdraw(1, "0.01", key=str(len(reports)))

    ledger = fill(writer)
    working = threading.Thread(target=work)
    reports: list[AuditReport] = []
    working.start()
    while len(reports) < 15 or reports[-1].position == reports[0].position:
        reports.append(verify_store(database))
    stopping.set()
    working.join()
    writer.stop()

    assert [report.errors for report in reports if not report.ok] == []
    assert reports[-1].position > reports[0].position


# --- the log ---------------------------------------------------------------------------------------------------------


def changed(rng: random.Random, value: Any) -> Any:
    """Change one byte of a column's value."""
    if isinstance(value, int):
        bits = (value % 2**64) ^ (rng.randrange(1, 256) << 8 * rng.randrange(8))
        return bits - 2**64 if bits >= 2**63 else bits
    place = rng.randrange(len(value))
    if isinstance(value, str):
        other = chr(rng.choice([n for n in range(32, 127) if chr(n) != value[place]]))
        return value[:place] + other + value[place + 1 :]
    bent = bytearray(value)
    bent[place] ^= rng.randrange(1, 256)
    return bytes(bent)


def change_a_byte(store: KeptStore, rng: random.Random, column: str) -> tuple[int, int]:
    """Change a random byte of a random row, and give the position where it stood and where it stands now."""
    while True:
        position = rng.randint(1, store.events)
        ((value,),) = store.ask(f"SELECT {column} FROM events WHERE notification_id = %(position)s", position=position)
        other = changed(rng, value)
        with suppress(UniqueViolation):  # that place is taken, and the database does not allow it
            statement = f"UPDATE events SET {column} = %(other)s WHERE notification_id = %(position)s"
            store.run(statement, other=other, position=position)
            return position, other if column == "notification_id" else position


def try_changed_bytes(store: KeptStore, *, tries: int) -> None:
    rng = random.Random(SEED)
    for _ in range(tries):
        for column in COLUMNS:
            was, is_now = change_a_byte(store, rng, column)
            for report in (verify_seals(store.database), verify_store(store.database)):
                named = where(report)
                # A row that was moved to before the log's start is named there, too.
                assert (named[0], was in named) == (min(was, is_now), True), (column, was, is_now, found(report))
            store.restore()


def test_any_changed_byte_of_any_column_is_found_at_its_position(store: KeptStore) -> None:
    """At random positions; the first that is named is the one."""
    try_changed_bytes(store, tries=10)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_any_changed_byte_is_found_over_and_over(store: KeptStore) -> None:
    """The long form."""
    try_changed_bytes(store, tries=300)


def test_any_removed_row_is_found(store: KeptStore, verify: Verify) -> None:
    """The first and the last one too."""
    rng = random.Random(SEED)
    for position in [1, store.events, store.events - 1, *(rng.randint(1, store.events) for _ in range(15))]:
        store.run("DELETE FROM events WHERE notification_id = %(position)s", position=position)

        assert found(verify(store.database))[0] == (position, "the event is missing")
        store.restore()


def test_several_removed_rows_are_found(store: KeptStore, verify: Verify) -> None:
    """As one gap."""
    store.run("DELETE FROM events WHERE notification_id BETWEEN 31 AND 40")

    assert found(verify(store.database))[0] == (31, "10 events are missing, from this position on")


def test_any_two_swapped_rows_are_found(store: KeptStore, verify: Verify) -> None:
    """Neighbours and others: their seals know where they stood."""
    rng = random.Random(SEED)
    pairs = [sorted(rng.sample(range(1, store.events + 1), 2)) for _ in range(10)]
    for one, other in [*pairs, [1, 2], [store.events - 1, store.events]]:
        for was, becomes in ((one, 9_999), (other, one), (9_999, other)):
            store.run(
                "UPDATE events SET notification_id = %(becomes)s WHERE notification_id = %(was)s",
                was=was,
                becomes=becomes,
            )

        assert where(verify(store.database))[0] == one, (one, other)
        store.restore()


@pytest.mark.parametrize("position", [0, -1, -(2**62)])
def test_a_row_before_the_start_is_found(store: KeptStore, verify: Verify, position: int) -> None:
    """No page of the log has it, and whoever reads its stream would."""
    store.run(
        "INSERT INTO events SELECT originator_id, 9999, topic, state, %(position)s, digest FROM events"
        " WHERE notification_id = 1",
        position=position,
    )

    assert found(verify(store.database)) == [(position, "the event stands before the first position")]


def test_a_head_set_back_alone_is_found(store: KeptStore, verify: Verify) -> None:
    """The log goes on beyond it, with or without the seal that belongs there."""
    rng = random.Random(SEED)
    for position in [0, store.events - 1, *(rng.randint(1, store.events - 1) for _ in range(10))]:
        store.run("UPDATE head SET position = %(position)s", position=position)
        alone = where(verify(store.database))
        store.run("UPDATE head SET digest = e.digest FROM events AS e WHERE e.notification_id = head.position")
        with_its_seal = where(verify(store.database))

        assert alone[0] == position
        assert (with_its_seal[0] == position + 1) is (position > 0)
        store.restore()


@pytest.mark.parametrize("position", [2**40, 2**62])
def test_a_head_that_points_far_beyond_the_log_is_found_at_once(
    store: KeptStore, verify: Verify, position: int
) -> None:
    """Nobody looks through all positions that it claims."""
    store.run("UPDATE head SET position = %(position)s", position=position)

    assert where(verify(store.database))[0] == store.events + 1


def test_a_store_without_a_head_is_broken(store: KeptStore, verify: Verify) -> None:
    """There is nothing to go by."""
    store.run("DELETE FROM head")

    with pytest.raises(LogBroken):
        verify(store.database)


def test_a_head_that_vanishes_during_an_audit_is_noticed(store: KeptStore) -> None:
    """It is read twice: at the start, and at the end together with the queue."""
    with pytest.raises(LogBroken):
        verify_store(store.database, on_progress=lambda *_: store.run("DELETE FROM head"))


# --- heads noted elsewhere -------------------------------------------------------------------------------------------


def noted(store: KeptStore, position: int) -> NotedHead:
    rows = store.ask("SELECT encode(digest, 'hex') FROM events WHERE notification_id = %(p)s", p=position)
    return NotedHead(position, rows[0][0])


def cut(store: KeptStore, position: int) -> None:
    """Cut the log together with its head, and all that follows from it."""
    store.run(
        "DELETE FROM events WHERE notification_id > %(position)s",
        "UPDATE head SET position = e.notification_id, digest = e.digest FROM events AS e"
        " WHERE e.notification_id = %(position)s",
        position=position,
    )


def test_a_log_cut_together_with_its_head_is_revealed_by_a_noted_head(store: KeptStore) -> None:
    """By nothing else, as far as the seals go."""
    rng = random.Random(SEED)
    for _ in range(10):
        position = rng.randint(1, store.events - 1)
        later, earlier = noted(store, rng.randint(position + 1, store.events)), noted(store, rng.randint(1, position))
        cut(store, position)

        assert verify_seals(store.database, noted=[earlier]).ok
        report = verify_seals(store.database, noted=[earlier, later])
        assert where(report) == [later.position]
        assert "no such position" in report.errors[0].what
        assert where(verify_store(store.database, noted=[later]))[-1] == later.position
        store.restore()


def test_a_log_rewritten_together_with_its_head_is_revealed_by_a_noted_head(store: KeptStore, verify: Verify) -> None:
    """Of the changed event or any after it."""
    rng = random.Random(SEED)
    for _ in range(3):
        position = rng.randint(2, store.events)
        before = noted(store, position - 1)
        later = noted(store, rng.randint(position, store.events))
        rewrite(store, position)

        assert verify(store.database, noted=[before]).ok
        report = verify(store.database, noted=[before, later])
        assert [error.position for error in report.errors] == [later.position]
        assert later.digest in report.errors[0].what
        store.restore()


def test_the_ledgers_id_can_be_noted_as_position_0(store: KeptStore, verify: Verify) -> None:
    """It is the seal before the first event."""
    ((digest,),) = store.ask("SELECT encode(sha256(uuid_send(ledger_id)), 'hex') FROM identity")

    assert verify(store.database, noted=[NotedHead(0, digest.upper())]).ok
    assert where(verify(store.database, noted=[NotedHead(0, "00" * 32)])) == [0]


# --- a part of the log -----------------------------------------------------------------------------------------------


def test_any_part_of_the_log_can_be_proven(store: KeptStore) -> None:
    """What its accounts and payments were before is read, wherever it begins."""
    for start in range(1, store.events + 1, 9):
        for upto in (start, start + 20, None):
            report = verify_store(store.database, start=start, upto=upto)

            assert (report.errors, report.events) == ([], min(upto or store.events, store.events) - start + 1)


def test_behind_the_end_is_nothing_to_prove(store: KeptStore) -> None:
    """And nothing wrong."""
    report = verify_store(store.database, start=store.events + 1)

    assert (report.ok, report.events) == (True, 0)


def test_a_part_is_proven_by_itself(store: KeptStore) -> None:
    """What is wrong before it or after it is not its fault, as long as it can be read."""
    store.run("UPDATE events SET state = state || ' ' WHERE notification_id IN (10, 200)")

    assert verify_store(store.database, start=11, upto=199).ok
    assert where(verify_store(store.database, start=10, upto=200)) == [10, 200]
    assert where(verify_store(store.database, start=11)) == [200]


@pytest.mark.parametrize("spoilt", ["state = '{'", "topic = 'account.credited'", "originator_version = 7777"])
def test_a_stream_whose_beginning_cannot_be_read_has_a_gap(store: KeptStore, spoilt: str) -> None:
    """An account is not made up of half of its events."""
    store.run(f"UPDATE events SET {spoilt} WHERE originator_id = 'account-1' AND originator_version = 1")

    ((start,),) = store.ask(
        "SELECT notification_id FROM events WHERE originator_id = 'account-1' AND originator_version = 2"
    )
    report = verify_store(store.database, start=start, upto=start)
    assert found(report) == [(start, "version 2 of account-1 follows version 0")]


def test_a_gap_in_a_streams_beginning_is_found_where_the_part_comes_to_it(store: KeptStore) -> None:
    """What follows the gap is not taken for what came before it."""
    positions = [
        row[0]
        for row in store.ask(
            "SELECT notification_id FROM events WHERE originator_id = 'account-1' ORDER BY originator_version"
        )
    ]
    store.run("DELETE FROM events WHERE notification_id = %(position)s", position=positions[1])

    report = verify_store(store.database, start=positions[3], upto=positions[3])
    assert found(report) == [(positions[3], "version 4 of account-1 follows version 1")]


def test_the_end_of_a_part_is_held_against_the_head(store: KeptStore) -> None:
    """When no end was given."""
    store.run("UPDATE head SET digest = '\\x00'")

    assert where(verify_store(store.database, start=300)) == [store.events]
    assert verify_store(store.database, start=300, upto=store.events).ok


class Watched(Database, frozen=True):
    """A database whose connections are known by their backends."""

    def connect(self, **options: Any) -> Connection[Any]:
        connection = super().connect(**options)
        BACKENDS.add(connection.info.backend_pid)
        return connection


BACKENDS: Final[set[int]] = set()


def test_an_audit_holds_no_transaction(store: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pages there is nothing that would keep the database from tidying up."""
    monkeypatch.setattr("ledger.audit_seals.PAGE", 50)
    database = Watched(store.database.url, store.database.schema)
    seen: list[Any] = []

    def look(*_: object) -> None:
        statement = "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = ANY (%(backends)s)"
        seen.extend(store.ask(statement, backends=list(BACKENDS)))

    verify_store(database, on_progress=look)

    assert (len(BACKENDS), set(seen)) == (1, {("idle", None)})
    assert len(seen) > EVENTS // 50
