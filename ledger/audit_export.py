"""Writes the log to a file or a stream, so that it can be kept and read elsewhere (`export_format` tells the form).

The log is read in short pages by position and each seal is checked before it is written. An export to a file can be
continued: after a kill, from the last line that is whole, and any time later, when the log has grown. Each page is on
the disk before the next is read, so what is lost with a power cut is a page at most, at the file's end.
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

from ledger.audit import HEAD_DOES_NOT_FIT, read_head
from ledger.audit_findings import Findings
from ledger.audit_seals import SealCheck, SealedRow, seal_before, sealed_pages
from ledger.database import Database
from ledger.errors import ExportInvalid, LogBroken
from ledger.export_format import EndLine, EventLine, HeaderLine, event_line, read_line, write_line
from ledger.migrate import ledger_id

Progress = Callable[[int, int], None]
"""Called after each page with the events written and to be written."""

_CHUNK: Final = 64 * 1024
_ONLY_FOR_US: Final = 0o600  # it has in it all that the customers ever did


class Exported(Struct, frozen=True, kw_only=True):
    """An export: of which ledger, up to which position with which seal, and how many events were written this time."""

    ledger_id: UUID
    position: int
    digest: str
    written: int


def export_to_stream(
    database: Database, stream: BinaryIO, *, on_progress: Progress = lambda _done, _total: None
) -> Exported:
    """Write the whole log, up to where it ends now. Raises LogBroken for a log that is not as it was written."""
    with closing(database.connect(application="payment-ledger export")) as connection:
        identity = ledger_id(connection)
        stream.write(write_line(HeaderLine(ledger_id=identity)))
        return _export(connection, stream, identity, after=0, on_page=stream.flush, on_progress=on_progress)


def export_to_file(database: Database, path: Path, *, on_progress: Progress = lambda _done, _total: None) -> Exported:
    """Write the log to a file, or what the file lacks of it, up to where the log ends now.

    Raises ExportInvalid for a file that is no export of this ledger, LogBroken for a log that is not as it was written,
    and OSError when the file cannot be written, or when somebody else is writing it.
    """
    with (
        closing(database.connect(application="payment-ledger export")) as connection,
        os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _ONLY_FOR_US), "r+b") as file,
    ):
        _lock(file, path)
        identity = ledger_id(connection)
        after = _continue(connection, file, write_line(HeaderLine(ledger_id=identity)))

        def keep() -> None:
            file.flush()
            os.fsync(file.fileno())

        exported = _export(connection, file, identity, after=after, on_page=keep, on_progress=on_progress)
        _keep_name(path)
    return exported


def _export(
    connection: psycopg.Connection[Any],
    stream: BinaryIO,
    identity: UUID,
    *,
    after: int,
    on_page: Callable[[], None],
    on_progress: Progress,
) -> Exported:
    """Write the events behind a position, and the end."""
    head, findings = read_head(connection), Findings()
    seals = SealCheck(seal_before(connection, after + 1), position=after, findings=findings)
    for rows, page_end in sealed_pages(connection, after=after, upto=head.position):
        seals.page(rows, upto=page_end)
        _refuse(findings)
        stream.writelines(write_line(_event_line(row)) for row in rows)
        on_page()
        on_progress(seals.position - after, head.position - after)
    if seals.digest != head.digest:
        findings.add(head.position, HEAD_DOES_NOT_FIT)
    _refuse(findings)
    stream.write(write_line(EndLine(position=seals.position, digest=seals.digest.hex())))
    on_page()
    return Exported(
        ledger_id=identity, position=seals.position, digest=seals.digest.hex(), written=seals.position - after
    )


def _event_line(row: SealedRow) -> EventLine:
    try:
        return event_line(row)
    except UnicodeDecodeError:
        raise LogBroken(position=row.position, what="what is stored is no text") from None


def _refuse(findings: Findings) -> None:
    if findings:
        first = findings.first[0]
        raise LogBroken(position=first.position, what=first.what)


# --- continuing a file -----------------------------------------------------------------------------------------------


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a second export away; the lock goes with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "Another export is writing it", str(path)) from None


def _continue(connection: psycopg.Connection[Any], file: BinaryIO, header: bytes) -> int:
    """Bring a file to the end of its last whole event, and give that one's position.

    Raises ExportInvalid when the file is no export of this ledger.
    """
    begin, text = _last_line(file)
    file.seek(0)
    first = file.read(len(header))
    if not text and header.startswith(first):
        # A new file, or one that was cut within its first line.
        _cut(file, 0)
        file.write(header)
        return 0
    if first != header:
        raise ExportInvalid(line=1, what="it is not the first line of an export of this ledger")
    if begin == 0:
        _cut(file, len(header))
        return 0
    number = _count_lines(file, upto=begin) + 1
    line = read_line(text, number=number)
    if isinstance(line, HeaderLine) or seal_before(connection, line.position + 1).hex() != line.digest:
        raise ExportInvalid(line=number, what="the log has no such event; it is not the log that this is an export of")
    _cut(file, begin + len(text) if isinstance(line, EventLine) else begin)
    return line.position


def _last_line(file: BinaryIO) -> tuple[int, bytes]:
    """Find the last line that is whole: where it begins, and its text; nothing where there is none."""
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


def _cut(file: BinaryIO, size: int) -> None:
    file.truncate(size)
    file.seek(size)


def _keep_name(path: Path) -> None:
    """Make sure that a new file is found under its name after a power cut, too."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
