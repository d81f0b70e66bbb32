"""Makes an empty store a copy of a ledger, from an export of its log: same id, same positions, same seals.

Everything is written in one transaction, so that a store has all of the log or nothing of it: nobody has to find out
how far an import came that was killed, and nobody can use half a log. Each seal is recomputed and each event replayed
as the lines come in, and the first that is not as it has to be ends the import. Idempotency keys, snapshots and the
head's counters are made again from the events; read models are left to the projector or a rebuild.

What an import leaves is withheld: it takes no commands and has no gateway queue, because the ledger that it is a copy
of may still be working. `take_over` is what puts it in charge. Memory is needed as by an audit (see `audit_replay`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO, Final
from uuid import UUID

import psycopg
from msgspec import Struct

from ledger.account import Account
from ledger.audit import NotedHead, check_noted, read_head
from ledger.audit_findings import Findings
from ledger.audit_keys import keys_of
from ledger.audit_replay import Replay
from ledger.audit_seals import SealCheck, SealedRow
from ledger.books import SNAPSHOT_EVERY
from ledger.database import Database
from ledger.errors import ExportInvalid, StoreNotEmpty
from ledger.export_format import LINE_BYTES_MAX, EndLine, EventLine, HeaderLine, read_line, sealed_row
from ledger.keys_and_queue import insert_keys
from ledger.log import SQL as LOG
from ledger.log import Row, row_columns
from ledger.mapper import SNAPSHOT_TOPIC, encode_snapshot
from ledger.seal import first_seal
from ledger.sql import load_statements
from ledger.wakeup import wake

SQL: Final = load_statements("ledger", "audit_import.sql")

PAGE: Final = 5_000

Progress = Callable[[int], None]
"""Called after each page with the bytes read."""


class Imported(Struct, frozen=True, kw_only=True):
    """An import: of which ledger, how many events, and the position and seal of the last one."""

    ledger_id: UUID
    events: int
    position: int
    digest: str


def import_log(
    database: Database,
    stream: BinaryIO,
    *,
    noted: Sequence[NotedHead] = (),
    on_progress: Progress = lambda _done: None,
) -> Imported:
    """Fill an empty store from an export, and withhold it.

    Raises StoreNotEmpty; ExportInvalid, with the line, when the export was cut or changed, or is not that of a log with
    the heads that were noted.
    """
    with (
        closing(database.connect(application="payment-ledger import", owner=True)) as connection,
        connection.transaction(),
    ):
        _lock_empty(connection)
        imported = _Importing(connection, _Lines(stream)).run(on_progress)
        findings = Findings()
        check_noted(connection, noted, findings)
        _refuse(findings)
        wake(connection, database, "log")
    return imported


def _lock_empty(connection: psycopg.Connection[Any]) -> None:
    """Keep everybody away from a store in which there is nothing yet. Raises StoreNotEmpty."""
    connection.execute(LOG["lock_head"])
    head = read_head(connection)
    if head.position != 0 or connection.execute(SQL["holds_anything"]).fetchone() == (True,):
        raise StoreNotEmpty(position=head.position)


class _Lines:
    """Reads an export, and counts its lines and bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.bytes_read = 0
        self._stream = stream
        self._number = 0

    def header(self) -> HeaderLine:
        """Read the first line."""
        line = self._next()
        if not isinstance(line, HeaderLine):
            raise ExportInvalid(line=1, what="it is not the first line of an export")
        return line

    def pages(self) -> Iterator[list[SealedRow]]:
        """Read the events, page by page; after the last one `end` is known."""
        rows: list[SealedRow] = []
        while isinstance(line := self._next(), EventLine):
            if line.position != self._number - 1:
                raise ExportInvalid(line=self._number, what=f"position {line.position} does not belong here")
            rows.append(sealed_row(line))
            if len(rows) == PAGE:
                yield rows
                rows = []
        if not isinstance(line, EndLine):
            raise ExportInvalid(line=self._number, what="it is a first line in the middle")
        self.end = line
        if rows:
            yield rows
        if self._stream.read(1):
            raise ExportInvalid(line=self._number + 1, what="it stands behind the end")

    def _next(self) -> HeaderLine | EventLine | EndLine:
        text = self._stream.readline(LINE_BYTES_MAX)
        self._number += 1
        self.bytes_read += len(text)
        if not text:
            raise ExportInvalid(
                line=self._number, what="the export was cut here; it can be continued where it was made"
            )
        return read_line(text, number=self._number)


class _Importing:
    """An import under way, in a transaction on an empty store."""

    def __init__(self, connection: psycopg.Connection[Any], lines: _Lines) -> None:
        self._connection = connection
        self._lines = lines
        self._findings = Findings()
        self._due: set[str] = set()
        self._replay = Replay(connection, self._findings, watch=self._note_snapshot)

    def run(self, on_progress: Progress) -> Imported:
        """Read and write everything."""
        identity = self._lines.header().ledger_id
        self._connection.execute(SQL["adopt_identity"], {"ledger_id": identity})
        seals = SealCheck(first_seal(identity), position=0, findings=self._findings)
        for rows in self._lines.pages():
            try:
                self._page(seals, rows)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                what = f"the database cannot store the events from here on: {error}"
                raise ExportInvalid(line=rows[0].position + 1, what=what) from None
            on_progress(self._lines.bytes_read)
        end = self._lines.end
        if (end.position, end.digest) != (seals.position, seals.digest.hex()):
            raise ExportInvalid(line=seals.position + 2, what="the end is not that of the events before it")
        self._replay.finish()
        _refuse(self._findings)
        self._finish(seals)
        return Imported(ledger_id=identity, events=seals.events, position=seals.position, digest=seals.digest.hex())

    def _page(self, seals: SealCheck, rows: Sequence[SealedRow]) -> None:
        """Check and write a page: the events, the keys that they took, and the snapshots that a writer would take."""
        seals.page(rows, upto=seals.position + len(rows))
        _refuse(self._findings)
        placed = self._replay.page(rows)
        _refuse(self._findings)
        events = [Row(row.originator_id, row.originator_version, row.topic, row.state) for row in rows]
        sealed = {"positions": [row.position for row in rows], "digests": [row.digest for row in rows]}
        keys = [taken for _, taken in keys_of(placed)]
        snapshots = [_snapshot(self._replay.accounts[stream]) for stream in sorted(self._due)]
        self._due.clear()
        with self._connection.pipeline():
            self._connection.execute(LOG["insert_events"], row_columns(events) | sealed, binary=True)
            insert_keys(self._connection, keys)
            self._connection.execute(LOG["insert_snapshots"], row_columns(snapshots))

    def _note_snapshot(self, _position: int, account: Account) -> None:
        if account.version % SNAPSHOT_EVERY == 0:
            self._due.add(account.id)

    def _finish(self, seals: SealCheck) -> None:
        """Move the head to the log's end, and withhold the store."""
        reached = {
            "position": seals.position,
            "digest": seals.digest,
            "at": self._replay.at or read_head(self._connection).at,
            "next_account_id": self._replay.next_account_id,
            "next_payment_sequence": self._replay.next_payment_sequence,
        }
        self._connection.execute(SQL["withhold"], reached)


def _snapshot(account: Account) -> Row:
    return Row(account.id, account.version, SNAPSHOT_TOPIC, encode_snapshot(account))


def _refuse(findings: Findings) -> None:
    """End the import at the first event that is not as it has to be."""
    if findings:
        first = findings.first[0]
        raise ExportInvalid(line=first.position + 1, what=first.what)
