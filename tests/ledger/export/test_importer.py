"""The import creates the same ledger from an export, and creates nothing from a changed one."""

import io
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, Final

import pytest

from ledger.audit.verify import ExpectedHead, verify_store
from ledger.domain.commands import OpenAccount
from ledger.domain.events import IdempotencyKey
from ledger.errors import StoreInactive
from ledger.export.errors import ExportInvalid, StoreNotEmpty
from ledger.export.exporter import export_to_stream
from ledger.export.importer import Imported, import_log
from ledger.store.database import Database
from ledger.store.hash_chain import first_seal, seal_rows
from ledger.store.serialization import SNAPSHOT_TOPIC, decode_snapshot
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.ledgers.busy import EVENTS, BusyLedger
from tests.support.ledgers.kept import KeptStore, kept_store
from tests.support.ledgers.written import log, opened, requested

SEED: Final = 20_263
EVERYTHING: Final = {
    "identity": "SELECT ledger_id FROM ledger_identity",
    "events": "SELECT * FROM events ORDER BY notification_id",
    "keys": "SELECT * FROM idempotency_keys ORDER BY scope, key",
    "head": "SELECT position, digest, at, next_account_id, next_payment_sequence FROM log_head",
}


@pytest.fixture(scope="module")
def source(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def exported(source: KeptStore) -> bytes:
    """Return its exported log."""
    return export(source.database)


@pytest.fixture(scope="module")
def spare(postgres_url: str) -> Iterator[KeptStore]:
    """Yield an empty store."""
    with (
        fresh_ledger(postgres_url) as database,
        closing(database.connect(application="test", owner=True)) as connection,
    ):
        yield KeptStore(database, connection)


@pytest.fixture
def copy(spare: KeptStore) -> Iterator[KeptStore]:
    """Yield an empty store, and empty it afterwards."""
    yield spare
    spare.restore()


def export(database: Database) -> bytes:
    stream = io.BytesIO()
    export_to_stream(database, stream)
    return stream.getvalue()


def everything(store: KeptStore) -> dict[str, Any]:
    return {name: store.ask(statement) for name, statement in EVERYTHING.items()}


def is_untouched(store: KeptStore) -> bool:
    """Return whether a store is as it was when it was new."""
    return everything(store) == {
        name: store.ask(statement.replace(" FROM ", " FROM kept_")) for name, statement in EVERYTHING.items()
    } and store.ask("SELECT inactive FROM log_head") == [(False,)]


def refused(store: KeptStore, text: bytes, **more: Any) -> tuple[int, str]:
    """Return the reason for which an import is refused, and check that it left nothing behind."""
    with pytest.raises(ExportInvalid) as invalid:
        import_log(store.database, io.BytesIO(text), **more)
    assert is_untouched(store)
    return invalid.value.line, invalid.value.what


# --- the same ledger -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [5_000, 50, 1])
def test_a_copy_is_the_same_ledger(
    source: KeptStore, exported: bytes, copy: KeptStore, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Id, positions, seals, keys and counters are equal in each column. It verifies, and exports the same bytes."""
    monkeypatch.setattr("ledger.export.importer.PAGE", page)
    read: list[int] = []

    imported = import_log(copy.database, io.BytesIO(exported), on_progress=read.append)

    assert everything(source) == everything(copy)
    assert verify_store(copy.database).ok
    assert exported == export(copy.database)
    ((ledger_id, position, digest),) = copy.ask(
        "SELECT ledger_id, position, encode(digest, 'hex') FROM ledger_identity, log_head"
    )
    assert imported == Imported(ledger_id=ledger_id, events=EVENTS, position=position, digest=digest)
    assert len(read) == -(-EVENTS // page)
    assert read == sorted(read)
    assert read[-1] <= len(exported)


def test_accounts_with_many_events_have_snapshots(source: KeptStore, exported: bytes, copy: KeptStore) -> None:
    """They are snapshots of the accounts as their events make them, at round versions or soon after."""
    statement = (
        "SELECT DISTINCT ON (originator_id) originator_id, originator_version, topic, state FROM snapshots"
        " ORDER BY originator_id, originator_version DESC"
    )

    import_log(copy.database, io.BytesIO(exported))

    snapshots = {
        stream: (version, topic, decode_snapshot(state)) for stream, version, topic, state in copy.ask(statement)
    }
    assert snapshots.keys() == {stream for stream, *_ in source.ask(statement)}
    assert snapshots["account-5"][0] >= 100
    assert all(
        (account.id, account.version) == (stream, version) for stream, (version, _, account) in snapshots.items()
    )
    assert {topic for _, topic, _ in snapshots.values()} == {SNAPSHOT_TOPIC}


def test_an_empty_ledger_can_be_copied(database: Database, copy: KeptStore) -> None:
    """An empty ledger has an id, too."""
    imported = import_log(copy.database, io.BytesIO(export(database)))

    assert (imported.events, imported.position) == (0, 0)
    assert verify_store(copy.database).ok
    assert copy.ask("SELECT inactive FROM log_head") == [(True,)]


def test_a_copy_accepts_no_commands_and_has_no_queue(exported: bytes, copy: KeptStore) -> None:
    """The original ledger may still be in use."""
    import_log(copy.database, io.BytesIO(exported))
    writer = Writer(copy.database)
    writer.start()

    with pytest.raises(StoreInactive):
        BusyLedger(writer).open()

    writer.stop()
    assert copy.ask("SELECT 1 FROM gateway_queue") == []


def test_a_writer_of_the_empty_store_continues_with_the_copy(exported: bytes, copy: KeptStore) -> None:
    """It continues once the copy is active, and its cache has nothing of the empty store."""
    writer = Writer(copy.database)
    writer.start()
    ledger = BusyLedger(writer)
    with pytest.raises(Exception, match="no such user"):
        ledger.deposit(1)
    import_log(copy.database, io.BytesIO(exported))
    copy.run("UPDATE log_head SET inactive = false")

    replayed = ledger.deposit(1, key="approved")
    opened = ledger.open()

    writer.stop()
    assert replayed.replayed
    assert opened == 6


# --- stores that are not empty ---------------------------------------------------------------------------------------


def test_a_store_that_has_a_log_is_refused(exported: bytes, copy: KeptStore) -> None:
    """The log may be its own or another one: a log is never overwritten or appended to."""
    import_log(copy.database, io.BytesIO(exported))
    before = everything(copy)

    with pytest.raises(StoreNotEmpty) as refusal:
        import_log(copy.database, io.BytesIO(exported))

    assert refusal.value.position == EVENTS
    assert before == everything(copy)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO events VALUES ('account-1', 1, 'account.opened', '{}', 7, '')",
        "INSERT INTO snapshots VALUES ('account-1', 1, 'account.snapshot', '{}')",
        "INSERT INTO idempotency_keys VALUES ('', 'k', 'account', 1, 1, 'f')",
        "INSERT INTO gateway_queue VALUES (1, 1, 'deposit', 1, 0, 'USD', 1, 'k', 0, 'pay', 0, false, 1, now())",
        "UPDATE projection_tracking SET position = 1",
    ],
)
def test_a_store_that_holds_anything_is_refused(exported: bytes, database: Database, statement: str) -> None:
    """This holds without a log too, for example if half of it was deleted by hand."""
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute(statement.encode())

    with pytest.raises(StoreNotEmpty):
        import_log(database, io.BytesIO(exported))


# --- changed exports -------------------------------------------------------------------------------------------------


def test_any_changed_byte_is_refused_at_its_line(exported: bytes, copy: KeptStore) -> None:
    """The places are random. A changed ledger id shows in the first event, whose seal depends on it."""
    rng = random.Random(SEED)
    for _ in range(60):
        place = rng.randrange(len(exported))
        bent = bytearray(exported)
        bent[place] ^= rng.randrange(1, 256)
        number = exported[:place].count(b"\n") + 1

        line, what = refused(copy, bytes(bent))

        assert line in {number, number + (number == 1)}, (place, what)


def test_every_field_counts(exported: bytes, copy: KeptStore) -> None:
    """This includes fields that could be derived from others."""
    lines = exported.splitlines(keepends=True)
    event = json.loads(lines[20])
    for name, value in (
        ("position", 21),
        ("position", 2**63),
        ("stream", "account-9"),
        ("version", 99),
        ("topic", "account.credited"),
        ("state", event["state"] + " "),
        ("digest", "0" * 64),
        ("digest", event["digest"].upper()),
        ("more", 1),
    ):
        bent = json.dumps(event | {name: value}, separators=(",", ":")).encode() + b"\n"

        assert refused(copy, b"".join([*lines[:20], bent, *lines[21:]]))[0] == 21, name


def test_an_incomplete_export_is_refused(exported: bytes, copy: KeptStore) -> None:
    """It may be cut anywhere. The refusal names the line where it ends."""
    rng = random.Random(SEED)
    for end in [
        0,
        len(exported) - 1,
        exported.rindex(b"\n", 0, -1) + 1,
        *(rng.randrange(len(exported)) for _ in range(15)),
    ]:
        line, what = refused(copy, exported[:end])

        assert line == exported[:end].count(b"\n") + 1
        assert "cut" in what


@pytest.mark.parametrize("change", ["removed", "swapped", "doubled"])
def test_moved_lines_are_refused(exported: bytes, copy: KeptStore, change: str) -> None:
    """The refusal names the first line that is out of place."""
    lines = exported.splitlines(keepends=True)
    moved = {
        "removed": [*lines[:30], *lines[31:]],
        "swapped": [*lines[:30], lines[31], lines[30], *lines[32:]],
        "doubled": [*lines[:31], lines[30], *lines[31:]],
    }[change]

    assert refused(copy, b"".join(moved))[0] == 31 + (change == "doubled")


@pytest.mark.parametrize(
    ("pick", "line", "what"),
    [
        (lambda lines: lines[1:], 1, "it is not the first line of an export"),
        (lambda lines: [*lines[:5], lines[0], *lines[5:]], 6, "it is a second header line"),
        (lambda lines: [*lines, lines[1]], EVENTS + 3, "it follows the end line"),
        (lambda lines: [*lines[:9], lines[-1]], 10, "the end line does not match the events before it"),
        (lambda lines: [b"[" * 100_000 + b"\n", *lines], 1, "it is not a line of an export"),
    ],
)
def test_an_export_of_another_form_is_refused(
    exported: bytes, copy: KeptStore, pick: Any, line: int, what: str
) -> None:
    """The reason is named."""
    number, said = refused(copy, b"".join(pick(exported.splitlines(keepends=True))))

    assert (number, said[: len(what)]) == (line, what)


def test_a_line_without_end_is_not_read_into_memory(
    exported: bytes, copy: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No real log has such lines."""
    for module in ("importer", "file_format"):
        monkeypatch.setattr(f"ledger.export.{module}.LINE_BYTES_MAX", 1_000)

    assert refused(copy, exported.splitlines(keepends=True)[0] + b"x" * 5_000) == (2, "it is longer than 1000 bytes")


@pytest.mark.parametrize("position", [0, 1, 200, EVENTS])
def test_a_noted_head_reveals_another_log(source: KeptStore, exported: bytes, copy: KeptStore, position: int) -> None:
    """The seals of an invented file are right, too."""
    digests = dict(source.ask("SELECT notification_id, encode(digest, 'hex') FROM events"))
    ((digests[0],),) = source.ask("SELECT encode(sha256(uuid_send(ledger_id)), 'hex') FROM ledger_identity")

    assert refused(copy, exported, expected=[ExpectedHead(position, "0" * 64)])[0] == position + 1
    assert refused(copy, exported, expected=[ExpectedHead(EVENTS + 5, "0" * 64)])[0] == EVENTS + 6
    assert import_log(copy.database, io.BytesIO(exported), expected=[ExpectedHead(position, digests[position])]).events


def sealed(rows: Sequence[Any], ledger_id: Any) -> bytes:
    """Build an export of rows that were never stored, with right seals."""
    plain = [(row.originator_id, row.originator_version, row.topic, row.state) for row in rows]
    digests = [digest.hex() for digest in seal_rows(first_seal(ledger_id), 0, plain)]
    lines: list[dict[str, Any]] = [
        {"line": "header", "format": "payment-ledger export", "version": 1, "ledger_id": str(ledger_id)}
    ]
    for position, (row, digest) in enumerate(zip(plain, digests, strict=True), start=1):
        names = ("stream", "version", "topic", "state")
        columns = dict(zip(names, (*row[:3], row[3].decode()), strict=True))
        lines.append({"line": "event", "position": position, **columns, "digest": digest})
    lines.append({"line": "end", "position": len(rows), "digest": digests[-1]})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_an_impossible_log_is_refused(source: KeptStore, copy: KeptStore) -> None:
    """A seal proves that an event was not changed, and not that it was right."""
    ((ledger_id,),) = source.ask("SELECT ledger_id FROM ledger_identity")

    assert refused(copy, sealed(log(opened(-1)), ledger_id)) == (2, "it opens an account with -1")
    assert refused(copy, sealed(log(opened(), requested()), ledger_id)) == (
        3,
        "account.funds_held of account-1, required by payment-1, is missing",
    )


def test_events_that_cannot_be_stored_are_refused(source: KeptStore, copy: KeptStore) -> None:
    """An example is an idempotency key that is used twice."""
    ((ledger_id,),) = source.ask("SELECT ledger_id FROM ledger_identity")
    taken = opened(idempotency=IdempotencyKey(scope="caller-", key="twice", fingerprint="open/100000/USD"))
    rows = log(taken, (taken, {"stream": "account-2"}))

    line, what = refused(copy, sealed(rows, ledger_id))

    assert (line, what.partition(":")[0]) == (2, "the database cannot store the events from here on")


def test_an_import_that_is_killed_leaves_nothing_behind(
    exported: bytes, copy: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import is one transaction, so the next one finds an empty store."""
    monkeypatch.setattr("ledger.export.importer.PAGE", 100)

    def cut_off(_: int) -> None:
        copy.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'payment-ledger import'"
            " AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'events'::regclass)"
        )

    with pytest.raises(Exception, match="terminat"):
        import_log(copy.database, io.BytesIO(exported), on_progress=cut_off)

    assert is_untouched(copy)
    assert import_log(copy.database, io.BytesIO(exported)).events == EVENTS


def test_no_writer_writes_during_an_import(exported: bytes, copy: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits for the head, and then finds an inactive copy."""
    monkeypatch.setattr("ledger.export.importer.PAGE", 200)
    writer = Writer(copy.database)
    writer.start()
    futures: list[Any] = []

    command = OpenAccount(command_id="c", opening=Decimal(0), currency="USD")

    import_log(copy.database, io.BytesIO(exported), on_progress=lambda _: futures.append(writer.submit(command)))

    errors = [future.exception(30) for future in futures]
    writer.stop()
    assert {type(error) for error in errors} == {StoreInactive}
