"""The export: the whole log in a file, byte by byte the same however often it was cut and continued."""

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

from ledger.audit_export import Exported, export_to_file, export_to_stream
from ledger.database import Database
from ledger.errors import ExportInvalid, LogBroken
from ledger.log import Row
from ledger.seal import seal_rows
from ledger.writer import Writer
from tests.ledger.busy_ledger import EVENTS, BusyLedger
from tests.ledger.kept_store import KeptStore, kept_store

SEED: Final = 20_262


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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an export may go."""
    return tmp_path / "log.ndjson"


def streamed(database: Database) -> bytes:
    """The export of a log in one piece."""
    stream = io.BytesIO()
    export_to_stream(database, stream)
    return stream.getvalue()


# --- what is written -------------------------------------------------------------------------------------------------


def test_every_event_is_written_with_all_its_columns(store: KeptStore, file: Path) -> None:
    """A first line that says what this is, a line for each event, and a last one by which a whole file is known."""
    exported = export_to_file(store.database, file)

    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    ((ledger_id,),) = store.ask("SELECT ledger_id::text FROM identity")
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
    """Standard output is as good as a disk."""
    export_to_file(store.database, file)

    assert streamed(store.database) == file.read_bytes()


def test_an_empty_log_is_a_first_and_a_last_line(database: Database, file: Path) -> None:
    """Which can be continued when there is something."""
    first = export_to_file(database, file)
    again = export_to_file(database, file)

    assert [json.loads(line)["line"] for line in file.read_text().splitlines()] == ["header", "end"]
    assert (first.position, first.written, again) == (0, 0, first)


def test_a_new_file_is_for_its_owner_only(store: KeptStore, file: Path) -> None:
    """It has in it all that the customers ever did."""
    export_to_file(store.database, file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pages_join_and_progress_is_told(store: KeptStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what is left of a file that was begun."""
    whole = streamed(store.database)
    monkeypatch.setattr("ledger.audit_seals.PAGE", 50)
    progress: list[tuple[int, int]] = []
    file.write_bytes(whole[: whole.index(b"\n", len(whole) // 2) + 1])
    begun = file.read_bytes().count(b"\n") - 1

    export_to_file(store.database, file, on_progress=lambda *done: progress.append(done))

    assert file.read_bytes() == whole
    assert progress[0] == (50, store.events - begun)
    assert progress[-1] == (store.events - begun, store.events - begun)


# --- continuing ------------------------------------------------------------------------------------------------------


def test_an_export_is_continued_wherever_it_was_cut(store: KeptStore, file: Path) -> None:
    """At the start and end of lines and anywhere between: the file comes out the same, and its first part is kept."""
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
    """Longer than what is read at once."""
    whole = streamed(store.database)
    monkeypatch.setattr("ledger.audit_export._CHUNK", 7)
    file.write_bytes(whole[:-3])

    export_to_file(store.database, file)

    assert file.read_bytes() == whole


def test_a_whole_export_is_continued_when_the_log_has_grown(database: Database, writer: Writer, file: Path) -> None:
    """The last line goes and comes again behind what is new."""
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
def test_a_file_that_is_no_export_of_this_ledger_is_left_alone(store: KeptStore, file: Path, text: bytes) -> None:
    """Somebody may have named the wrong one."""
    file.write_bytes(text)

    assert refused(store, file) == (1, "it is not the first line of an export of this ledger")


@pytest.mark.parametrize(
    ("last", "what"),
    [
        (b"{}\n", "it is no line of an export"),
        (b"\xff\n", "it is no line of an export"),
        (b'{"line":"end","position":7,"digest":"' + b"0" * 64 + b'"}\n', "the log has no such event"),
        (b'{"line":"end","position":9999,"digest":"' + b"0" * 64 + b'"}\n', "the log has no such event"),
        (None, "the log has no such event"),
    ],
)
def test_a_file_whose_last_line_is_not_of_this_log_is_left_alone(
    store: KeptStore, file: Path, last: bytes | None, what: str
) -> None:
    """As that of a log which was cut and went on another way; the line is named."""
    lines = streamed(store.database).splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:8]) + (lines[0] if last is None else last))

    line, said = refused(store, file)

    assert (line, said[: len(what)]) == (9, what)


def test_two_exports_do_not_write_one_file(store: KeptStore, file: Path) -> None:
    """The second is told, and touches nothing."""
    with file.open("wb") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="Another export is writing it"):
            export_to_file(store.database, file)

    assert file.read_bytes() == b""


# --- a log that is not what was written ------------------------------------------------------------------------------


def broken(store: KeptStore, file: Path) -> tuple[int, str]:
    with pytest.raises(LogBroken) as error:
        export_to_file(store.database, file)
    return error.value.position, error.value.what


def test_an_event_whose_seal_does_not_fit_is_not_written(store: KeptStore, file: Path) -> None:
    """Nor anything after it, and so the file is not whole; the page before is."""
    store.run("UPDATE events SET state = state || ' ' WHERE notification_id = 200")

    position, what = broken(store, file)

    assert position == 200
    assert "does not fit" in what
    assert b'"line":"end"' not in file.read_bytes()


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("DELETE FROM events WHERE notification_id = 200", 200),
        ("UPDATE head SET digest = '\\x00'", EVENTS),
        ("UPDATE head SET position = position + 1", EVENTS + 1),
    ],
)
def test_a_log_with_a_gap_or_another_end_is_not_exported_as_whole(
    store: KeptStore, file: Path, change: str, position: int
) -> None:
    """What is wrong is named, and the file has no last line."""
    store.run(change)

    assert broken(store, file)[0] == position
    assert b'"line":"end"' not in file.read_bytes()


def test_what_is_no_text_cannot_be_exported(database: Database, file: Path) -> None:
    """No event of ours is that, however well it is sealed."""
    with closing(database.connect(application="test", owner=True)) as connection:
        store = KeptStore(database, connection)
        ((first,),) = store.ask("SELECT sha256(uuid_send(ledger_id)) FROM identity")
        row = Row("account-1", 1, "account.opened", b"\xff")
        (digest,) = seal_rows(first, 0, [row])
        store.run("INSERT INTO events VALUES ('account-1', 1, 'account.opened', '\\xff', 1, %(digest)s)", digest=digest)
        store.run("UPDATE head SET position = 1, digest = %(digest)s", digest=digest)

        assert broken(store, file) == (1, "what is stored is no text")


def test_what_was_exported_is_told(store: KeptStore, file: Path) -> None:
    """To be noted elsewhere."""
    ((digest,),) = store.ask("SELECT encode(digest, 'hex') FROM head")

    exported: Exported = export_to_file(store.database, file)

    assert (exported.position, exported.digest) == (store.events, digest)
