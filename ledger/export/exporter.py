"""Exports the log to a file or a stream, so that it can be kept and read elsewhere; `file_format` describes the format.

The exporter reads the log in short pages by position and checks each seal before it writes the event. An export to a
file can be continued: after a kill, from the last complete line, and at any later time, when the log has grown. The
exporter syncs each page to disk before it reads the next, so a power cut loses at most one page, at the file's end.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import psycopg
from msgspec import Struct

from ledger.audit.check_hash_chain import SealCheck, SealedRow, seal_before, sealed_pages
from ledger.audit.findings import Findings
from ledger.audit.verify import HEAD_SEAL_DIFFERS, read_head
from ledger.errors import LogBroken
from ledger.export.errors import ExportInvalid
from ledger.export.file_format import EndLine, EventLine, HeaderLine, event_line, read_line, write_line
from ledger.progress import PartProgress, no_progress
from ledger.store.database import Database
from ledger.store.migrate import ledger_id

_CHUNK: Final = 64 * 1024
_OWNER_ONLY: Final = 0o600  # the file contains everything that the customers ever did


class Exported(Struct, frozen=True, kw_only=True):
    """A finished export: the ledger's id, the last position and its seal (hex), and the events `written` this time."""

    ledger_id: UUID
    position: int
    digest: str
    written: int


def export_to_stream(database: Database, stream: BinaryIO, *, on_progress: PartProgress = no_progress) -> Exported:
    """Write the whole log, up to where it ends now; `on_progress` is told the events written and to be written.

    Raises LogBroken for a log that is not as it was written.
    """
    with closing(database.administration.connect(application="payment-ledger export")) as connection:
        identity = ledger_id(connection)
        stream.write(write_line(HeaderLine(ledger_id=identity)))
        return _export(connection, stream, identity, after=0, on_page=stream.flush, on_progress=on_progress)


def export_to_file(database: Database, path: Path, *, on_progress: PartProgress = no_progress) -> Exported:
    """Write the log to a file, up to its present head; continue the file if it holds a part of the log already.

    Raises ExportInvalid for a file that is not an export of this ledger, LogBroken when a seal is wrong, and OSError
    when the file cannot be written or another export is writing it.
    """
    with (
        closing(database.administration.connect(application="payment-ledger export")) as connection,
        os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY), "r+b") as file,
    ):
        _lock(file, path)
        identity = ledger_id(connection)
        after = _continue(connection, file, write_line(HeaderLine(ledger_id=identity)))

        def sync() -> None:
            file.flush()
            os.fsync(file.fileno())

        exported = _export(connection, file, identity, after=after, on_page=sync, on_progress=on_progress)
        _sync_directory(path)
    return exported


def _export(
    connection: psycopg.Connection[Any],
    stream: BinaryIO,
    identity: UUID,
    *,
    after: int,
    on_page: Callable[[], None],
    on_progress: PartProgress,
) -> Exported:
    """Write the events after a position, and the end line."""
    head, findings = read_head(connection), Findings()
    seals = SealCheck(seal_before(connection, after + 1), position=after, findings=findings)
    for rows, page_end in sealed_pages(connection, after=after, upto=head.position):
        seals.page(rows, upto=page_end)
        findings.refuse()
        stream.writelines(write_line(_event_line(row)) for row in rows)
        on_page()
        on_progress(seals.position - after, head.position - after)
    if seals.digest != head.digest:
        findings.add(head.position, HEAD_SEAL_DIFFERS)
    findings.refuse()
    stream.write(write_line(EndLine(position=seals.position, digest=seals.digest.hex())))
    on_page()
    return Exported(
        ledger_id=identity, position=seals.position, digest=seals.digest.hex(), written=seals.position - after
    )


def _event_line(row: SealedRow) -> EventLine:
    try:
        return event_line(row)
    except UnicodeDecodeError:
        raise LogBroken(position=row.position, what="the stored state is not text") from None


# --- continuing a file -----------------------------------------------------------------------------------------------


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock the file against a second export; the operating system releases the lock when the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "Another export is writing this file", str(path)) from None


def _continue(connection: psycopg.Connection[Any], file: BinaryIO, header: bytes) -> int:
    """Truncate a file after its last complete event, and return that event's position.

    Raises ExportInvalid when the file is not an export of this ledger.
    """
    begin, text = _last_line(file)
    file.seek(0)
    first = file.read(len(header))
    if not text and header.startswith(first):
        # A new file, or one that was cut off within its first line.
        _truncate(file, 0)
        file.write(header)
        return 0
    if first != header:
        raise ExportInvalid(line=1, what="it is not the first line of an export of this ledger")
    if begin == 0:
        _truncate(file, len(header))
        return 0
    number = _count_lines(file, upto=begin) + 1
    line = read_line(text, number=number)
    if isinstance(line, HeaderLine) or seal_before(connection, line.position + 1).hex() != line.digest:
        raise ExportInvalid(line=number, what="the log has no such event; the file is an export of another log")
    _truncate(file, begin + len(text) if isinstance(line, EventLine) else begin)
    return line.position


def _last_line(file: BinaryIO) -> tuple[int, bytes]:
    """Return the offset and the text of the last complete line; (0, b"") when there is none."""
    begin, tail = file.seek(0, os.SEEK_END), b""
    while begin > 0 and tail.count(b"\n") < 2:  # noqa: PLR2004 - the line's own end, and that of the line before
        size = min(_CHUNK, begin)
        begin -= size
        file.seek(begin)
        tail = file.read(size) + tail
    end = tail.rfind(b"\n") + 1
    start = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
    return begin + start, tail[start:end]


def _count_lines(file: BinaryIO, *, upto: int) -> int:
    file.seek(0)
    count = 0
    while (left := upto - file.tell()) > 0:
        count += file.read(min(_CHUNK, left)).count(b"\n")
    return count


def _truncate(file: BinaryIO, size: int) -> None:
    file.truncate(size)
    file.seek(size)


def _sync_directory(path: Path) -> None:
    """Sync the file's directory, so that a power cut does not lose the name of a new file."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
