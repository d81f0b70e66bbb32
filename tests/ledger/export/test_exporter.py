"""The export writes the whole log to a file, with the same bytes however often it was cut and continued."""

import fcntl
import io
import json
import random
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import LogBroken
from ledger.export.errors import ExportInvalid
from ledger.export.exporter import Exported, export_to_file, export_to_stream
from ledger.store.database import Database
from ledger.store.hash_chain import seal_rows
from ledger.store.log import Row
from ledger.writer.writer import Writer
from tests.support.ledgers.busy import EVENTS, BusyLedger
from tests.support.ledgers.kept import KeptStore, kept_store

SEED: Final = 20_262


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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of an export."""
    return tmp_path / "log.ndjson"


def streamed(database: Database) -> bytes:
    """The whole export of a log."""
    stream = io.BytesIO()
    export_to_stream(database, stream)
    return stream.getvalue()


# --- contents --------------------------------------------------------------------------------------------------------


def test_every_event_is_written_with_all_its_columns(store: KeptStore, file: Path) -> None:
    """The first line identifies the format, each event has a line, and the last line marks the file as complete."""
    exported = export_to_file(store.database, file)

    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    ((ledger_id,),) = store.ask("SELECT ledger_id::text FROM ledger_identity")
    rows = store.ask(
        "SELECT notification_id, originator_id, originator_version, topic, convert_from(state, 'UTF8'),"
        " encode(digest, 'hex') FROM events ORDER BY 1"
    )
    names = ("position", "stream", "version", "topic", "state", "digest")
    assert lines[0] == {"line": "header", "format": "payment-ledger export", "version": 1, "ledger_id": ledger_id}
    assert lines[1:-1] == [{"line": "event", **dict(zip(names, row, strict=True))} for row in rows]
    assert lines[-1] == {"line": "end", "position": store.events, "digest": rows[-1][-1]}
    assert (str(exported.ledger_id), exported.position, exported.digest) == (ledger_id, store.events, rows[-1][-1])
    assert exported.written == store.events


def test_a_stream_gets_the_same_bytes_as_a_file(store: KeptStore, file: Path) -> None:
    """Standard output gets the same bytes as a file."""
    export_to_file(store.database, file)

    assert streamed(store.database) == file.read_bytes()


def test_an_empty_log_is_a_first_and_a_last_line(database: Database, file: Path) -> None:
    """It can be continued once the log has events."""
    first = export_to_file(database, file)
    again = export_to_file(database, file)

    assert [json.loads(line)["line"] for line in file.read_text().splitlines()] == ["header", "end"]
    assert (first.position, first.written, again) == (0, 0, first)


def test_a_new_file_is_for_its_owner_only(store: KeptStore, file: Path) -> None:
    """It contains everything that customers did."""
    export_to_file(store.database, file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pages_continue_each_other_and_progress_is_reported(
    store: KeptStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for the rest of a continued file too."""
    whole = streamed(store.database)
    monkeypatch.setattr("ledger.audit.check_hash_chain.PAGE", 50)
    progress: list[tuple[int, int]] = []
    file.write_bytes(whole[: whole.index(b"\n", len(whole) // 2) + 1])
    begun = file.read_bytes().count(b"\n") - 1

    export_to_file(store.database, file, on_progress=lambda *done: progress.append(done))

    assert file.read_bytes() == whole
    assert progress[0] == (50, store.events - begun)
    assert progress[-1] == (store.events - begun, store.events - begun)


# --- continuing ------------------------------------------------------------------------------------------------------


def test_an_export_is_continued_wherever_it_was_cut(store: KeptStore, file: Path) -> None:
    """It may be cut at the start or end of a line or within one. The result is the same, and the first part is kept."""
    whole = streamed(store.database)
    rng = random.Random(SEED)
    header, last = whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1) + 1
    ends = [0, 1, header - 1, header, header + 1, last - 1, last, last + 1, len(whole) - 1, len(whole)]
    for end in ends + [rng.randrange(len(whole)) for _ in range(40)]:
        file.write_bytes(whole[:end])
        kept = whole[:end].count(b"\n") - 1

        exported = export_to_file(store.database, file)

        assert file.read_bytes() == whole, end
        assert exported.written == store.events - min(max(kept, 0), store.events), end


def test_long_lines_are_found_from_the_end(store: KeptStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are longer than one read."""
    whole = streamed(store.database)
    monkeypatch.setattr("ledger.export.exporter._CHUNK", 7)
    file.write_bytes(whole[:-3])

    export_to_file(store.database, file)

    assert file.read_bytes() == whole


def test_a_whole_export_is_continued_when_the_log_has_grown(database: Database, writer: Writer, file: Path) -> None:
    """The last line is replaced by the new events and a new last line."""
    ledger = BusyLedger(writer)
    ledger.open()
    first, text = export_to_file(database, file), file.read_bytes()
    ledger.deposit()
    second = export_to_file(database, file)

    assert (first.written, second.written, second.position) == (1, 1, 2)
    assert file.read_bytes() == streamed(database)
    assert file.read_bytes().startswith(text[: text.rindex(b'{"line":"end"')])


def refused(store: KeptStore, file: Path) -> tuple[int, str]:
    before = file.read_bytes()
    with pytest.raises(ExportInvalid) as invalid:
        export_to_file(store.database, file)
    assert file.read_bytes() == before
    return invalid.value.line, invalid.value.what


@pytest.mark.parametrize(
    "text",
    [
        b"precious",
        b"precious\n",
        b"precious\nlines\n",
        b"\n",
        b"\n\n",
        b'{"line":"header","format":"payment-ledger export","version":1,"ledger_id":"0b9f0000',
        b'{"line":"header","format":"payment-ledger export","version":2,"ledger_id":"x"}\n',
    ],
)
def test_a_file_that_is_not_an_export_of_this_ledger_is_left_alone(store: KeptStore, file: Path, text: bytes) -> None:
    """The user may have named the wrong file."""
    file.write_bytes(text)

    assert refused(store, file) == (1, "it is not the first line of an export of this ledger")


@pytest.mark.parametrize(
    ("last", "what"),
    [
        (b"{}\n", "it is not a line of an export"),
        (b"\xff\n", "it is not a line of an export"),
        (b'{"line":"end","position":7,"digest":"' + b"0" * 64 + b'"}\n', "the log has no such event"),
        (b'{"line":"end","position":9999,"digest":"' + b"0" * 64 + b'"}\n', "the log has no such event"),
        (None, "the log has no such event"),
    ],
)
def test_a_file_whose_last_line_is_not_of_this_log_is_left_alone(
    store: KeptStore, file: Path, last: bytes | None, what: str
) -> None:
    """For example, the log was cut and continued differently. The line is named."""
    lines = streamed(store.database).splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:8]) + (lines[0] if last is None else last))

    line, said = refused(store, file)

    assert (line, said[: len(what)]) == (9, what)


def test_two_exports_do_not_write_one_file(store: KeptStore, file: Path) -> None:
    """The second one is refused, and changes nothing."""
    with file.open("wb") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="Another export is writing this file"):
            export_to_file(store.database, file)

    assert file.read_bytes() == b""


# --- a log with faults -----------------------------------------------------------------------------------------------


def broken(store: KeptStore, file: Path) -> tuple[int, str]:
    with pytest.raises(LogBroken) as error:
        export_to_file(store.database, file)
    return error.value.position, error.value.what


def test_an_event_whose_seal_does_not_fit_is_not_written(store: KeptStore, file: Path) -> None:
    """Later events are not written either, so the file is incomplete. The page before is written."""
    store.run("UPDATE events SET state = state || ' ' WHERE notification_id = 200")

    position, what = broken(store, file)

    assert position == 200
    assert "does not match" in what
    assert b'"line":"end"' not in file.read_bytes()


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("DELETE FROM events WHERE notification_id = 200", 200),
        ("UPDATE log_head SET digest = '\\x00'", EVENTS),
        ("UPDATE log_head SET position = position + 1", EVENTS + 1),
    ],
)
def test_a_log_with_a_gap_or_another_end_is_not_exported_as_complete(
    store: KeptStore, file: Path, change: str, position: int
) -> None:
    """The fault is named, and the file has no last line."""
    store.run(change)

    assert broken(store, file)[0] == position
    assert b'"line":"end"' not in file.read_bytes()


def test_bytes_that_are_not_text_cannot_be_exported(database: Database, file: Path) -> None:
    """Our events are always text, so such bytes are refused even if the seal is right."""
    with closing(database.connect(application="test", owner=True)) as connection:
        store = KeptStore(database, connection)
        ((first,),) = store.ask("SELECT sha256(uuid_send(ledger_id)) FROM ledger_identity")
        row = Row("account-1", 1, "account.opened", b"\xff")
        (digest,) = seal_rows(first, 0, [row])
        store.run("INSERT INTO events VALUES ('account-1', 1, 'account.opened', '\\xff', 1, %(digest)s)", digest=digest)
        store.run("UPDATE log_head SET position = 1, digest = %(digest)s", digest=digest)

        assert broken(store, file) == (1, "the stored state is not text")


def test_an_export_returns_its_last_position_and_seal(store: KeptStore, file: Path) -> None:
    """The result can be noted elsewhere."""
    ((digest,),) = store.ask("SELECT encode(digest, 'hex') FROM log_head")

    exported: Exported = export_to_file(store.database, file)

    assert (exported.position, exported.digest) == (store.events, digest)
