"""The audit of a whole store: whatever a superuser changes in it is found, and named by its position."""

import random
import re
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
from ledger.log import Row
from ledger.seal import seal_rows
from ledger.writer import Writer
from tests.ledger.busy_ledger import EVENTS, fill
from tests.ledger.kept_store import KeptStore, kept_store

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


def found(report: AuditReport) -> list[tuple[int, str]]:
    return [(error.position, error.what) for error in report.errors]


def where(report: AuditReport) -> list[int]:
    return [error.position for error in report.errors]


def position_of(store: KeptStore, topic: str, *, nth: int = 0) -> int:
    rows = store.ask("SELECT notification_id FROM events WHERE topic = %(topic)s ORDER BY 1", topic=topic)
    position: int = rows[nth][0]
    return position


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


def rewrite(store: KeptStore, position: int, state: bytes | None = None) -> None:
    """Change an event, and seal it and all after it anew."""
    other = state
    rows = [
        Row(stream, version, topic, (other or state + b" ") if place == position else state)
        for stream, version, topic, state, place in store.ask(
            "SELECT originator_id, originator_version, topic, state, notification_id FROM events ORDER BY 5"
        )
    ]
    ((first,),) = store.ask("SELECT sha256(uuid_send(ledger_id)) FROM identity")
    for place, (row, digest) in enumerate(zip(rows, seal_rows(first, 0, rows), strict=True), start=1):
        store.run(
            "UPDATE events SET state = %(state)s, digest = %(digest)s WHERE notification_id = %(place)s",
            state=row.state,
            digest=digest,
            place=place,
        )
    store.run("UPDATE head SET digest = e.digest FROM events AS e WHERE e.notification_id = head.position")


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


# --- idempotency keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["account 1", "approved", "too much"])
def test_a_missing_key_is_found_at_the_event_that_took_it(store: KeptStore, key: str) -> None:
    """A client that sends its request again would else be paid again."""
    store.run("DELETE FROM idempotency_keys WHERE key = %(key)s", key=key)

    ((position,),) = store.ask(
        "SELECT notification_id FROM events WHERE position(%(key)s IN convert_from(state, 'UTF8')) > 0",
        key=f'"key":"{key}"',
    )
    assert found(verify_store(store.database)) == [(position, f"the idempotency key {key!r} is missing")]


@pytest.mark.parametrize(
    "change",
    ["subject_id = 2", "subject_kind = 'account'", "fingerprint = 'deposit/1/1'", "fingerprint_version = 2"],
)
def test_a_key_that_stands_for_something_else_is_found(store: KeptStore, change: str) -> None:
    """In each column."""
    store.run(f"UPDATE idempotency_keys SET {change} WHERE key = 'approved'")

    position = position_of(store, "payment.requested", nth=1)
    assert (position, "the idempotency key 'approved' stands for something else") in found(verify_store(store.database))


@pytest.mark.parametrize(("kind", "subject", "nth"), [("account", 2, 1), ("account", 99, None)])
def test_a_key_that_no_event_took_is_found(store: KeptStore, kind: str, subject: int, nth: int | None) -> None:
    """At the event that it says to be of, or where there is no such event at the log's end."""
    store.run(
        "INSERT INTO idempotency_keys VALUES ('x', 'forged', %(kind)s, %(subject)s, 1, 'open/1/USD')",
        kind=kind,
        subject=subject,
    )

    position = store.events if nth is None else position_of(store, "account.opened", nth=nth)
    assert found(verify_store(store.database)) == [(position, "no event took the idempotency key 'forged' of 'x'")]


def test_a_key_of_an_event_that_cannot_be_read_is_not_to_blame(store: KeptStore) -> None:
    """The event is, whoever sealed it."""
    position = position_of(store, "account.opened", nth=1)
    rewrite(store, position, state=b"{")

    report = verify_store(store.database)

    assert where(report)[0] == position
    assert "the event cannot be read" in report.errors[0].what
    assert [what for _, what in found(report) if "idempotency" in what] == []


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_there_is_a_snapshot_to_be_checked(store: KeptStore) -> None:
    """Of the account with the long life."""
    assert store.ask("SELECT originator_id, originator_version FROM snapshots") == [("account-5", 100)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            r"""state = regexp_replace(convert_from(state, 'UTF8'), '"posted_minor":1', '"posted_minor":2')::bytea""",
            "the snapshot of account-5 at version 100 is another account",
        ),
        ("state = '{'", "the snapshot of account-5 cannot be read: "),
        (r"state = '\xff'", "the snapshot of account-5 cannot be read: "),
    ],
)
def test_a_snapshot_that_is_not_the_account_is_found_at_its_event(store: KeptStore, change: str, what: str) -> None:
    """Or that cannot be read: it would be read in the events' place."""
    store.run(f"UPDATE snapshots SET {change}")

    ((position,),) = store.ask(
        "SELECT notification_id FROM events WHERE originator_id = 'account-5' AND originator_version = 100"
    )
    assert [(place, said[: len(what)]) for place, said in found(verify_store(store.database))] == [(position, what)]


def test_a_snapshot_of_another_shape_is_passed_over(store: KeptStore) -> None:
    """Nobody reads it, and what it says of an account is no matter."""
    store.run("UPDATE snapshots SET topic = 'account.snapshot/0', state = '{}'")

    assert verify_store(store.database).ok


@pytest.mark.parametrize(
    ("stream", "version"), [("account-1", 9_999), ("account-77", 1), ("payment-4", 1), ("something", 1)]
)
def test_a_snapshot_of_what_is_not_there_is_found(store: KeptStore, stream: str, version: int) -> None:
    """It would be read as the account."""
    store.run(
        "INSERT INTO snapshots SELECT %(stream)s, %(version)s, topic, state FROM snapshots",
        stream=stream,
        version=version,
    )

    what = f"there is a snapshot of {stream} at version {version}, and no such account"
    assert found(verify_store(store.database)) == [(store.events, what)]


# --- the gateway queue -----------------------------------------------------------------------------------------------


def queued(store: KeptStore) -> dict[int, int]:
    """The payments in the queue, and the positions of their last events."""
    return dict(
        store.ask(
            "SELECT q.payment_id, max(e.notification_id) FROM gateway_queue AS q"
            " JOIN events AS e ON e.originator_id = 'payment-' || q.payment_id GROUP BY 1 ORDER BY 1"
        )
    )


def test_an_open_payment_that_does_not_wait_is_found(store: KeptStore) -> None:
    """Nobody would ever call the gateway for it."""
    for payment_id, position in queued(store).items():
        store.run("DELETE FROM gateway_queue WHERE payment_id = %(payment_id)s", payment_id=payment_id)

        what = f"payment {payment_id} is open, and not in the gateway queue"
        assert found(verify_store(store.database)) == [(position, what)]
        store.restore()


@pytest.mark.parametrize("payment_id", [1, 77_777])
def test_a_payment_that_waits_and_is_not_open_is_found(store: KeptStore, payment_id: int) -> None:
    """The gateway would be called for nothing."""
    store.run(
        "INSERT INTO gateway_queue (payment_id, account_id, kind, amount_minor, fee_minor, currency, series,"
        " gateway_key, attempt, action, inquiries, unknown, payment_version, due_at)"
        " VALUES (%(id)s, 1, 'deposit', 1, 0, 'USD', 1, 'x', 0, 'pay', 0, false, 1, now())",
        id=payment_id,
    )

    what = f"payment {payment_id} waits in the gateway queue, and is not open"
    assert found(verify_store(store.database)) == [(store.events, what)]


@pytest.mark.parametrize(
    "change",
    [
        "account_id = account_id + 1",
        "kind = CASE kind WHEN 'deposit' THEN 'withdraw' ELSE 'deposit' END",
        "amount_minor = amount_minor + 1",
        "fee_minor = fee_minor - 1",
        "currency = 'XXX'",
        "series = series + 1",
        "gateway_key = gateway_key || '0'",
        "payment_version = payment_version + 5",
        "payment_version = payment_version - 1",
        "attempt = attempt + 1",
        "action = CASE action WHEN 'pay' THEN 'inquire' ELSE 'pay' END",
        "unknown = NOT unknown",
        "inquiries = CASE inquiries WHEN 0 THEN 1 ELSE 0 END",
    ],
)
def test_an_entry_that_differs_from_the_events_is_found(store: KeptStore, change: str) -> None:
    """In each column, for a payment at each place of its way."""
    column = change.partition(" ")[0]
    for payment_id, position in queued(store).items():
        store.run(f"UPDATE gateway_queue SET {change} WHERE payment_id = {payment_id}")

        assert (position, True) in [
            (error.position, f"{column} of payment {payment_id} is" in error.what)
            for error in verify_store(store.database).errors
        ]
        store.restore()


def test_an_entry_that_is_due_at_another_time_is_found_where_the_events_tell(store: KeptStore) -> None:
    """Only a later inquiry's time is in no event."""
    store.run("UPDATE gateway_queue SET due_at = due_at + interval '1 microsecond'")

    ((parked,),) = store.ask("SELECT payment_id FROM gateway_queue WHERE inquiries > 0")
    expected = [position for payment_id, position in queued(store).items() if payment_id != parked]
    assert where(verify_store(store.database)) == sorted(expected)


def test_a_payment_of_which_no_event_says_what_is_next_is_found(store: KeptStore) -> None:
    """Whatever the queue has for it."""
    position = position_of(store, "payment.gateway_attempted", nth=10)
    ((state,),) = store.ask("SELECT state FROM events WHERE notification_id = %(position)s", position=position)
    without = re.sub(rb',"retry_at":"[^"]*"', b"", state)
    rewrite(store, position, without)

    errors = found(verify_store(store.database))
    assert without != state
    assert [(place, what[-39:]) for place, what in errors] == [(position, "is open, and no event says what is next")]


def test_a_payment_that_cannot_be_replayed_is_not_looked_for_in_the_queue(store: KeptStore) -> None:
    """Nobody knows whether it is open: its event is what is wrong."""
    for position in queued(store).values():
        rewrite(store, position, b"{")

        assert where(verify_store(store.database))[0] == position
        assert "gateway queue" not in str(verify_store(store.database).errors)
        store.restore()


def test_a_claim_is_nothing_wrong(store: KeptStore) -> None:
    """It counts the call before it is made, and an inquiry not at all."""
    lease = "leased_until = now(), leased_by = 'a worker'"
    store.run(f"UPDATE gateway_queue SET {lease}, attempt = attempt + CASE action WHEN 'pay' THEN 1 ELSE 0 END")

    assert verify_store(store.database).ok


def test_a_claim_that_has_not_counted_its_call_is_found(store: KeptStore) -> None:
    """What became of the call before would be recorded as this one."""
    store.run("UPDATE gateway_queue SET leased_until = now(), leased_by = 'a worker' WHERE action = 'pay'")

    errors = verify_store(store.database).errors
    assert len(errors) == len(store.ask("SELECT 1 FROM gateway_queue WHERE action = 'pay'"))
    assert all("attempt of payment" in error.what for error in errors)


def test_a_withheld_store_has_an_empty_queue(store: KeptStore) -> None:
    """It calls no gateway, and that is nothing wrong; with entries it is."""
    store.run("UPDATE head SET withheld = true")
    with_entries = verify_store(store.database)
    store.run("DELETE FROM gateway_queue")
    without = verify_store(store.database)

    assert len(with_entries.errors) == len(queued(store)) + 7
    assert without.ok


# --- the head's other columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["next_account_id", "next_payment_sequence"])
@pytest.mark.parametrize("change", [-1, 1])
def test_counters_that_do_not_fit_are_found(store: KeptStore, column: str, change: int) -> None:
    """An id would be given twice, or left out."""
    store.run(f"UPDATE head SET {column} = {column} + {change}")

    what = "the head has not counted the accounts and payments that there are"
    assert found(verify_store(store.database)) == [(store.events, what)]


def test_a_head_whose_time_was_set_back_is_found(store: KeptStore) -> None:
    """Time would run backwards with the next event."""
    store.run("UPDATE head SET at = at - interval '1 second'")

    what = "the head's time is earlier than that of the last event"
    assert found(verify_store(store.database)) == [(store.events, what)]


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
