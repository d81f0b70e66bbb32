"""Proves the log, and everything in the store that follows from it.

The log is read in short pages by position, so that payments go on meanwhile and no snapshot is held for long. On each
page the seals are recomputed (`audit_seals`), the accounts and payments replayed (`audit_replay`), and the snapshots
and idempotency keys held against them (`audit_snapshots`, `audit_keys`). At the end, the head and the gateway queue are
read at one moment and compared with what the log says up to there (`audit_queue`).

What this finds is any changed, missing, added or swapped row, and a head that does not fit the log. Where a seal does
not fit, that is all that is reported: what follows from a log that is not what was written proves nothing, and might
point to the wrong place. What it cannot see is a log that was rewritten or cut together with its head: only a head
noted elsewhere (`NotedHead`) reveals that.

What grows in memory is told in `audit_replay`; the seals alone need a page of memory, and half of the time.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger import audit_keys, audit_snapshots
from ledger.audit_findings import AuditReport, Findings
from ledger.audit_queue import QueueRow, check_queue
from ledger.audit_replay import Replay
from ledger.audit_seals import SealCheck, seal_before, sealed_pages
from ledger.audit_snapshots import SnapshotCheck
from ledger.database import Database
from ledger.errors import LogBroken
from ledger.log import SQL as LOG
from ledger.log import Head
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "audit.sql")

HEAD_DOES_NOT_FIT: Final = "the head's seal is not that of the last event"

Progress = Callable[[str, int, int], None]
"""Called with a stage, and how much of it is done of how much; 0 where nobody knows how much that is."""


class NotedHead(Struct, frozen=True):
    """A position and its seal, in hex, that somebody has noted elsewhere."""

    position: int
    digest: str


def verify_seals(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    noted: Sequence[NotedHead] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Recompute the seals from position `start` up to `upto`, or to the head as it is when the audit begins.

    `on_progress` is told the events done and to do after each page. A check that does not start at 1 trusts the seal
    before its start. The check goes on to the end however much it finds. Raises LogBroken when there is no head.
    """
    with closing(database.connect(application="payment-ledger audit")) as connection:
        findings = Findings()
        head = read_head(connection)
        last = head.position if upto is None else min(upto, head.position)
        seals = SealCheck(seal_before(connection, start), position=start - 1, findings=findings)
        for rows, page_end in sealed_pages(connection, after=seals.position, upto=last):
            seals.page(rows, upto=page_end)
            if on_progress is not None:
                on_progress(seals.position - start + 1, last - start + 1)
        if upto is None:
            check_end(connection, seals, head, findings)
        check_noted(connection, noted, findings)
    return _report(seals, findings)


def verify_store(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    noted: Sequence[NotedHead] = (),
    on_progress: Progress = lambda _stage, _done, _total: None,
) -> AuditReport:
    """Check everything in the store that follows from the log, from position `start` up to `upto`, or to the head.

    A part of the log is checked with what its events did; what was before is trusted. What speaks for the whole log is
    checked with the whole: the head, the gateway queue, and whether there are keys or snapshots without an event.
    Raises LogBroken when there is no head.
    """
    with closing(database.connect(application="payment-ledger audit")) as connection:
        walk = Walk(connection, start=start, on_progress=on_progress)
        head = read_head(connection)
        walk.to(head.position if upto is None else min(upto, head.position))
        if start <= 1 and upto is None:
            _check_whole(walk, on_progress)
        elif upto is None:
            check_end(connection, walk.seals, head, walk.unsealed)
        check_noted(connection, noted, walk.unsealed)
    return _report(walk.seals, walk.unsealed or walk.findings)


class Walk:
    """A walk over the log, page by page, with all checks that need no more than a page and what was before it.

    What is wrong with the log itself goes into `unsealed`, and what follows from it into `findings`.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, start: int, on_progress: Progress) -> None:
        self.connection = connection
        self.unsealed, self.findings = Findings(), Findings()
        self.seals = SealCheck(seal_before(connection, start), position=start - 1, findings=self.unsealed)
        self._snapshots = SnapshotCheck(connection, self.findings)
        self.replay = Replay(connection, self.findings, start=start, watch=self._snapshots.hold)
        self._start = start
        self._on_progress = on_progress

    def to(self, position: int) -> None:
        """Go on up to a position."""
        for rows, page_end in sealed_pages(self.connection, after=self.seals.position, upto=position):
            self.seals.page(rows, upto=page_end)
            if not self.unsealed:
                self._snapshots.expect(rows)
                audit_keys.check_keys_of(self.connection, self.findings, self.replay.page(rows))
            self._on_progress("events", page_end - self._start + 1, position - self._start + 1)


def _check_whole(walk: Walk, on_progress: Progress) -> None:
    """Check what speaks for the whole log, at one moment, and what lies about without an event."""
    connection, findings, replay = walk.connection, walk.findings, walk.replay
    head, queue = _read_end(connection)
    walk.to(head.position)
    check_end(connection, walk.seals, head, walk.unsealed)
    if walk.unsealed:
        return
    replay.finish()
    counted = replay.next_account_id, replay.next_payment_sequence
    if not findings and (head.next_account_id, head.next_payment_sequence) != counted:
        findings.add(head.position, "the head has not counted the accounts and payments that there are")
    if replay.at is not None and head.at < replay.at:
        findings.add(head.position, "the head's time is earlier than that of the last event")
    open_payments = {} if head.withheld else replay.open_payments
    check_queue(findings, queue, open_payments, is_lost=replay.is_lost, position=head.position)
    on_progress("keys and snapshots", 0, 2)
    audit_keys.check_baseless(connection, findings, position=head.position)
    on_progress("keys and snapshots", 1, 2)
    audit_snapshots.check_baseless(connection, findings, position=head.position)
    on_progress("keys and snapshots", 2, 2)


def read_head(connection: psycopg.Connection[Any]) -> Head:
    """Read the log's end. Raises LogBroken when there is none."""
    row = connection.execute(LOG["read_head"], binary=True).fetchone()
    if row is None:
        raise LogBroken(position=0, what="the head is missing")
    return Head(*row)


def _read_end(connection: psycopg.Connection[Any]) -> tuple[Head, list[QueueRow]]:
    rows = connection.execute(SQL["read_end"], binary=True).fetchall()
    if not rows:
        raise LogBroken(position=0, what="the head is missing")
    return Head(*rows[0][:6]), [QueueRow(*row[6:]) for row in rows if row[6] is not None]


def check_end(connection: psycopg.Connection[Any], seals: SealCheck, head: Head, findings: Findings) -> None:
    """Hold the log's end against the head, and look for rows that no page has."""
    if seals.digest != head.digest:
        findings.add(head.position, HEAD_DOES_NOT_FIT)
    for statement, what in (
        (LOG["read_first_beyond_head"], "the log goes on beyond its head"),
        (SQL["read_first_before_start"], "the event stands before the first position"),
    ):
        row = connection.execute(statement).fetchone()
        if row is not None:
            findings.add(row[0], what)


def check_noted(connection: psycopg.Connection[Any], noted: Sequence[NotedHead], findings: Findings) -> None:
    """Hold the log against heads that somebody has noted elsewhere."""
    for head in noted:
        digest = seal_before(connection, head.position + 1).hex()
        if not digest:
            findings.add(head.position, "the log has no such position any more, and it was noted when it had")
        elif digest != head.digest.lower():
            findings.add(head.position, f"the seal is not the one that was noted, {head.digest.lower()}")


def _report(seals: SealCheck, findings: Findings) -> AuditReport:
    return AuditReport(
        ok=not findings,
        events=seals.events,
        position=seals.position,
        digest=seals.digest.hex(),
        errors=findings.first,
    )
