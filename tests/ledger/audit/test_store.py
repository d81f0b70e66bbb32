"""The audit of a whole store finds any change that a superuser makes, and names its position."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from psycopg import Connection
from psycopg.errors import UniqueViolation

from ledger.audit.findings import AuditReport
from ledger.audit.verify import ExpectedHead, verify_seals, verify_store
from ledger.errors import LogBroken
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.busy import EVENTS, fill
from tests.support.ledgers.kept import KeptStore, found, kept_store, rewrite, where

SEED: Final = 20_261
COLUMNS: Final = ("originator_id", "originator_version", "topic", "state", "notification_id", "digest")
Verify = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def busy(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture
def store(busy: KeptStore) -> Iterator[KeptStore]:
    """Yield the same store, and restore it afterwards."""
    yield busy
    busy.restore()


@pytest.fixture(params=[verify_seals, verify_store], ids=["seals", "store"])
def verify(request: pytest.FixtureRequest) -> Verify:
    """Return each kind of audit. Both find faults of the log itself."""
    kind: Verify = request.param
    return kind


# --- a right store ---------------------------------------------------------------------------------------------------


def test_a_store_with_events_of_every_kind_is_verified(store: KeptStore) -> None:
    """All events are counted, and the digest equals the head's."""
    report = verify_store(store.database)

    head = store.ask("SELECT position, encode(digest, 'hex') FROM log_head")[0]
    assert (report.ok, report.errors, report.events) == (True, [], store.events)
    assert (report.position, report.digest) == head


def test_an_empty_store_is_verified(database: Database) -> None:
    """An empty store has no findings."""
    assert verify_store(database).ok


def test_pages_continue_each_other(store: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts, payments, pending effects, keys and snapshots are carried over from page to page."""
    for module in ("check_hash_chain", "check_idempotency_keys", "check_snapshots"):
        monkeypatch.setattr(f"ledger.audit.{module}.PAGE", 1 if module == "check_snapshots" else 7)
    progress: list[tuple[str, int, int]] = []

    report = verify_store(store.database, on_progress=lambda *done: progress.append(done))

    assert (report.ok, report.errors) == (True, [])
    assert ("events", store.events, store.events) in progress
    assert progress[-1] == ("keys and snapshots", 2, 2)


def test_payments_may_continue_during_an_audit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each audit sees the log, the queue and the keys at one moment."""
    monkeypatch.setattr("ledger.audit.check_hash_chain.PAGE", 20)
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
    """Change a random byte of a random row. Returns the row's positions before and after."""
    while True:
        position = rng.randint(1, store.events)
        ((value,),) = store.ask(f"SELECT {column} FROM events WHERE notification_id = %(position)s", position=position)
        other = changed(rng, value)
        with suppress(UniqueViolation):  # that position is taken, so the database refuses the change
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
                # A row moved to before the log's start is reported there, too.
                assert (named[0], was in named) == (min(was, is_now), True), (column, was, is_now, found(report))
            store.restore()


def test_any_changed_byte_of_any_column_is_found_at_its_position(store: KeptStore) -> None:
    """The positions are random, and the first finding is the changed one."""
    try_changed_bytes(store, tries=10)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_any_changed_byte_is_found_in_many_tries(store: KeptStore) -> None:
    """This is the long form."""
    try_changed_bytes(store, tries=300)


def test_any_removed_row_is_found(store: KeptStore, verify: Verify) -> None:
    """The first and the last row are included."""
    rng = random.Random(SEED)
    for position in [1, store.events, store.events - 1, *(rng.randint(1, store.events) for _ in range(15))]:
        store.run("DELETE FROM events WHERE notification_id = %(position)s", position=position)

        assert found(verify(store.database))[0] == (position, "the event is missing")
        store.restore()


def test_several_removed_rows_are_found(store: KeptStore, verify: Verify) -> None:
    """They are reported as one gap."""
    store.run("DELETE FROM events WHERE notification_id BETWEEN 31 AND 40")

    assert found(verify(store.database))[0] == (31, "10 events are missing from this position on")


def test_any_two_swapped_rows_are_found(store: KeptStore, verify: Verify) -> None:
    """Neighbours and other pairs are swapped. Their seals include their positions."""
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
    """No page of the log contains it, but a reader of its stream would get it."""
    store.run(
        "INSERT INTO events SELECT originator_id, 9999, topic, state, %(position)s, digest FROM events"
        " WHERE notification_id = 1",
        position=position,
    )

    assert found(verify(store.database)) == [(position, "the event is before the first position")]


def test_a_head_set_back_alone_is_found(store: KeptStore, verify: Verify) -> None:
    """The log continues after it, whether or not the head has the right seal for its position."""
    rng = random.Random(SEED)
    for position in [0, store.events - 1, *(rng.randint(1, store.events - 1) for _ in range(10))]:
        store.run("UPDATE log_head SET position = %(position)s", position=position)
        alone = where(verify(store.database))
        store.run("UPDATE log_head SET digest = e.digest FROM events AS e WHERE e.notification_id = log_head.position")
        with_its_seal = where(verify(store.database))

        assert alone[0] == position
        assert (with_its_seal[0] == position + 1) is (position > 0)
        store.restore()


@pytest.mark.parametrize("position", [2**40, 2**62])
def test_a_head_that_points_far_beyond_the_log_is_found_at_once(
    store: KeptStore, verify: Verify, position: int
) -> None:
    """The audit does not read all the missing positions."""
    store.run("UPDATE log_head SET position = %(position)s", position=position)

    assert where(verify(store.database))[0] == store.events + 1


def test_a_store_without_a_head_is_broken(store: KeptStore, verify: Verify) -> None:
    """The audit needs the head to know the log's end."""
    store.run("DELETE FROM log_head")

    with pytest.raises(LogBroken):
        verify(store.database)


def test_a_head_that_vanishes_during_an_audit_is_noticed(store: KeptStore) -> None:
    """The head is read at the start, and again at the end together with the queue."""
    with pytest.raises(LogBroken):
        verify_store(store.database, on_progress=lambda *_: store.run("DELETE FROM log_head"))


# --- heads noted elsewhere -------------------------------------------------------------------------------------------


def noted(store: KeptStore, position: int) -> ExpectedHead:
    rows = store.ask("SELECT encode(digest, 'hex') FROM events WHERE notification_id = %(p)s", p=position)
    return ExpectedHead(position, rows[0][0])


def cut(store: KeptStore, position: int) -> None:
    """Cut the log together with its head, and with everything after it."""
    store.run(
        "DELETE FROM events WHERE notification_id > %(position)s",
        "UPDATE log_head SET position = e.notification_id, digest = e.digest FROM events AS e"
        " WHERE e.notification_id = %(position)s",
        position=position,
    )


def test_a_log_cut_together_with_its_head_is_revealed_by_a_noted_head(store: KeptStore) -> None:
    """The seals alone cannot reveal it."""
    rng = random.Random(SEED)
    for _ in range(10):
        position = rng.randint(1, store.events - 1)
        later, earlier = noted(store, rng.randint(position + 1, store.events)), noted(store, rng.randint(1, position))
        cut(store, position)

        assert verify_seals(store.database, expected=[earlier]).ok
        report = verify_seals(store.database, expected=[earlier, later])
        assert where(report) == [later.position]
        assert "no longer has this position" in report.errors[0].what
        assert where(verify_store(store.database, expected=[later]))[-1] == later.position
        store.restore()


def begun_decisions(store: KeptStore) -> list[int]:
    """The positions, after the first, at which a decision's events begin."""
    commands = [
        (position, json.loads(state)["cause"])
        for position, state in store.ask("SELECT notification_id, state FROM events ORDER BY 1")
    ]
    return [position for position, cause in commands if position > 1 and cause.startswith(("Request", "Open"))]


def test_a_log_rewritten_together_with_its_head_is_revealed_by_a_noted_head(store: KeptStore, verify: Verify) -> None:
    """The noted head is that of the changed event or of a later one."""
    rng = random.Random(SEED)
    for position in rng.sample(begun_decisions(store), 3):
        before = noted(store, position - 1)
        later = noted(store, rng.randint(position, store.events))
        rewrite(store, position)

        assert verify(store.database, expected=[before]).ok
        report = verify(store.database, expected=[before, later])
        assert [error.position for error in report.errors] == [later.position]
        assert later.digest in report.errors[0].what
        store.restore()


def test_the_ledgers_id_can_be_noted_as_position_0(store: KeptStore, verify: Verify) -> None:
    """It is the seal before the first event."""
    ((digest,),) = store.ask("SELECT encode(sha256(uuid_send(ledger_id)), 'hex') FROM ledger_identity")

    assert verify(store.database, expected=[ExpectedHead(0, digest.upper())]).ok
    assert where(verify(store.database, expected=[ExpectedHead(0, "00" * 32)])) == [0]


# --- a part of the log -----------------------------------------------------------------------------------------------


def test_any_part_of_the_log_can_be_verified(store: KeptStore) -> None:
    """The state of accounts and payments before the part is read first."""
    for start in range(1, store.events + 1, 9):
        for upto in (start, min(start + 20, store.events), None):
            report = verify_store(store.database, start=start, upto=upto)

            assert (report.errors, report.events) == ([], (upto or store.events) - start + 1)


def test_a_part_may_begin_within_a_decision(store: KeptStore) -> None:
    """The request before a refusal is not in the part, and its hold is not missed."""
    refusals = store.ask(
        "SELECT notification_id FROM events WHERE topic = 'payment.failed'"
        " AND convert_from(state, 'UTF8')::jsonb -> 'data' ->> 'ended_by' = 'request'"
    )

    assert refusals
    for (start,) in refusals:
        assert verify_store(store.database, start=start, upto=start).errors == []


def test_a_part_is_verified_by_itself(store: KeptStore) -> None:
    """Faults before and after the part are not reported, as long as those events can be read."""
    store.run("UPDATE events SET state = state || ' ' WHERE notification_id IN (10, 200)")

    assert verify_store(store.database, start=11, upto=199).ok
    assert where(verify_store(store.database, start=10, upto=200)) == [10, 200]
    assert where(verify_store(store.database, start=11)) == [200]


@pytest.mark.parametrize("spoilt", ["state = '{'", "topic = 'account.credited'", "originator_version = 7777"])
def test_a_stream_whose_beginning_cannot_be_read_has_a_gap(store: KeptStore, spoilt: str) -> None:
    """An account is not computed from an incomplete history."""
    store.run(f"UPDATE events SET {spoilt} WHERE originator_id = 'account-1' AND originator_version = 1")

    ((start,),) = store.ask(
        "SELECT notification_id FROM events WHERE originator_id = 'account-1' AND originator_version = 2"
    )
    report = verify_store(store.database, start=start, upto=start)
    assert found(report) == [(start, "version 2 of account-1 follows version 0")]


def test_a_gap_in_a_streams_beginning_is_found_where_the_part_comes_to_it(store: KeptStore) -> None:
    """Events after the gap are not used as if they came before it."""
    positions = [
        row[0]
        for row in store.ask(
            "SELECT notification_id FROM events WHERE originator_id = 'account-1' ORDER BY originator_version"
        )
    ]
    store.run("DELETE FROM events WHERE notification_id = %(position)s", position=positions[1])

    report = verify_store(store.database, start=positions[3], upto=positions[3])
    assert found(report) == [(positions[3], "version 4 of account-1 follows version 1")]


def test_the_end_of_a_part_is_compared_with_the_head(store: KeptStore) -> None:
    """This holds if no end was given."""
    store.run("UPDATE log_head SET digest = '\\x00'")

    assert where(verify_store(store.database, start=300)) == [store.events]
    assert verify_store(store.database, start=300, upto=store.events).ok


class Watched(Database, frozen=True):
    """A database that records the backends of its connections."""

    def connect(self, **options: Any) -> Connection[Any]:
        connection = super().connect(**options)
        BACKENDS.add(connection.info.backend_pid)
        return connection


BACKENDS: Final[set[int]] = set()


def test_an_audit_holds_no_transaction(store: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction is open between two pages, so vacuum is not held back."""
    monkeypatch.setattr("ledger.audit.check_hash_chain.PAGE", 50)
    database = Watched(store.database.url, store.database.schema)
    seen: list[Any] = []

    def look(*_: object) -> None:
        statement = "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = ANY (%(backends)s)"
        seen.extend(store.ask(statement, backends=list(BACKENDS)))

    verify_store(database, on_progress=look)

    assert (len(BACKENDS), set(seen)) == (1, {("idle", None)})
    assert len(seen) > EVENTS // 50
