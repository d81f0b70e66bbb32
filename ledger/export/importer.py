"""Imports an exported log into an empty store, which becomes a copy of the ledger: same id, same positions, same seals.

The importer writes everything in one transaction, so the store has the whole log or nothing: a killed import leaves no
half log that an operator would have to inspect. It recomputes each seal and replays each event as it reads the lines,
and stops at the first error. It rebuilds idempotency keys, snapshots and the head's counters from the events, and
leaves the read models to the projector or a rebuild.

The imported store is inactive: it takes no commands and has no gateway queue, because the original ledger may still be
working. `activate` activates it. An import needs as much memory as an audit (see `ledger.audit.check_streams`).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO, Final
from uuid import UUID

import psycopg
from msgspec import Struct

from ledger.audit.check_hash_chain import SealCheck, SealedRow
from ledger.audit.check_idempotency_keys import keys_of
from ledger.audit.check_streams import Replay
from ledger.audit.findings import Findings
from ledger.audit.verify import ExpectedHead, check_expected, read_head
from ledger.domain.account import Account
from ledger.export.errors import ExportInvalid, StoreNotEmpty
from ledger.export.file_format import LINE_BYTES_MAX, EndLine, EventLine, HeaderLine, read_line, sealed_row
from ledger.operation.gateway import write_state
from ledger.operation.state import GATEWAY
from ledger.progress import BytesRead, no_progress
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.hash_chain import first_seal
from ledger.store.idempotency_keys import insert_keys
from ledger.store.log import PAGE, Row, row_columns
from ledger.store.log import SQL as LOG
from ledger.store.notifications import wake
from ledger.store.serialization import SNAPSHOT_TOPIC, encode_snapshot
from ledger.store.statements import load_statements
from ledger.writer.aggregate_cache import SNAPSHOT_EVERY

SQL: Final = load_statements("ledger.export", "importer.sql")


class Imported(Struct, frozen=True, kw_only=True):
    """A finished import: the ledger's id, the number of events, and the position and seal (in hex) of the last one."""

    ledger_id: UUID
    events: int
    position: int
    digest: str


def import_log(
    database: Database,
    stream: BinaryIO,
    *,
    expected: Sequence[ExpectedHead] = (),
    on_progress: BytesRead = no_progress,
) -> Imported:
    """Fill an empty store from an export, and leave it inactive.

    Raises StoreNotEmpty, and ExportInvalid with the line when the export was cut off or changed, or when its seals
    differ from the `expected` heads, and OutcomeUnknown when the commit is in doubt.
    """
    with (
        closing(
            database.administration.connect(application="payment-ledger import", owner=True, options=WARNED)
        ) as connection,
        certain_commits(connection),
        connection.transaction(),
    ):
        _lock_empty(connection)
        imported = _Importing(connection, _Lines(stream)).run(on_progress)
        findings = Findings()
        check_expected(connection, expected, findings)
        _refuse(findings)
        wake(connection, database, "log")
    return imported


def _lock_empty(connection: psycopg.Connection[Any]) -> None:
    """Lock the head of an empty store. Raises StoreNotEmpty when the store holds anything."""
    connection.execute(LOG["lock_head"])
    head = read_head(connection)
    if head.position != 0 or connection.execute(SQL["holds_anything"]).fetchone() == (True,):
        raise StoreNotEmpty(position=head.position)


class _Lines:
    """Reads the lines of an export, and counts lines and bytes."""

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
        """Yield the events, page by page. Sets `end` before it yields the last page."""
        rows: list[SealedRow] = []
        while isinstance(line := self._next(), EventLine):
            if line.position != self._number - 1:
                what = f"its position is {line.position} and should be {self._number - 1}"
                raise ExportInvalid(line=self._number, what=what)
            rows.append(sealed_row(line))
            if len(rows) == PAGE:
                yield rows
                rows = []
        if not isinstance(line, EndLine):
            raise ExportInvalid(line=self._number, what="it is a second header line")
        self.end = line
        if rows:
            yield rows
        if self._stream.read(1):
            raise ExportInvalid(line=self._number + 1, what="it follows the end line")

    def _next(self) -> HeaderLine | EventLine | EndLine:
        text = self._stream.readline(LINE_BYTES_MAX)
        self._number += 1
        self.bytes_read += len(text)
        if not text:
            what = "the export was cut off here; continue it with `payment-ledger audit export` at its ledger"
            raise ExportInvalid(line=self._number, what=what)
        return read_line(text, number=self._number)


class _Importing:
    """An import in progress, in a transaction on an empty store."""

    def __init__(self, connection: psycopg.Connection[Any], lines: _Lines) -> None:
        self._connection = connection
        self._lines = lines
        self._findings = Findings()
        self._due: set[str] = set()
        self._replay = Replay(connection, self._findings, watch=self._note_snapshot)

    def run(self, on_progress: BytesRead) -> Imported:
        """Read, check and write the whole export."""
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
            raise ExportInvalid(line=seals.position + 2, what="the end line does not match the events before it")
        self._replay.finish()
        _refuse(self._findings)
        self._finish(seals)
        return Imported(ledger_id=identity, events=seals.events, position=seals.position, digest=seals.digest.hex())

    def _page(self, seals: SealCheck, rows: Sequence[SealedRow]) -> None:
        """Check and write a page: the events, their idempotency keys, and the snapshots that a writer would take."""
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
        """Move the head to the last event, and mark the store inactive."""
        reached = {
            "position": seals.position,
            "digest": seals.digest,
            "at": self._replay.at or read_head(self._connection).at,
            "next_account_id": self._replay.next_account_id,
            "next_payment_sequence": self._replay.next_payment_sequence,
        }
        self._connection.execute(SQL["set_inactive_head"], reached)
        write_state(self._connection, self._replay.operation.state(GATEWAY))


def _snapshot(account: Account) -> Row:
    return Row(account.id, account.version, SNAPSHOT_TOPIC, encode_snapshot(account))


def _refuse(findings: Findings) -> None:
    """End the import when there is an error. Raises ExportInvalid with the first."""
    if findings:
        first = findings.first[0]
        raise ExportInvalid(line=first.position + 1, what=first.what)
