"""Verifies the log and everything in the store that follows from it.

The audit reads the log in short pages by position, so that payments continue and no snapshot is held for long. For each
page it recomputes the seals (`check_hash_chain`), replays the accounts and payments (`check_streams`), and compares the
snapshots and idempotency keys with them (`check_snapshots`, `check_idempotency_keys`). At the end it reads the head and
the gateway queue in one snapshot and compares them with the log up to that head (`check_gateway_queue`), and looks for
columns out of their bounds (`check_bounds`).

The audit finds any changed, missing, added or swapped row, a head that does not match the log, and a position that it
was asked about and that is not there. When a seal is wrong, it reports only the seals: conclusions from a changed log
prove nothing and might point to the wrong place. It cannot see that a log was rewritten or cut together with its head;
only a head noted elsewhere (`ExpectedHead`) reveals that.

`check_streams` says how much memory a whole audit needs. Checking only the seals needs a page of memory and half the
time.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.audit import check_idempotency_keys as audit_keys
from ledger.audit import check_snapshots as audit_snapshots
from ledger.audit.check_bounds import check_clock, check_queue_bounds
from ledger.audit.check_gateway_queue import QueueRow, check_queue
from ledger.audit.check_hash_chain import SealCheck, seal_before, sealed_pages
from ledger.audit.check_snapshots import SnapshotCheck
from ledger.audit.check_streams import Replay
from ledger.audit.findings import AuditReport, Findings
from ledger.errors import LogBroken
from ledger.progress import PartProgress, Progress, no_progress
from ledger.store.database import Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Head
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "verify.sql")

HEAD_SEAL_DIFFERS: Final = "the head's seal is not that of the last event"


class ExpectedHead(Struct, frozen=True):
    """A position and its seal, in hex, that an auditor has noted outside the store and expects in it."""

    position: int
    digest: str


def verify_seals(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    expected: Sequence[ExpectedHead] = (),
    on_progress: PartProgress = no_progress,
) -> AuditReport:
    """Recompute the seals from position `start` up to `upto`, or up to the head at the time when the audit begins.

    It calls `on_progress` after each page with (events done, events in total). A check that starts after position 1
    trusts the seal before its start. Errors do not stop the check. Raises LogBroken when the head is missing.
    """
    with closing(database.administration.connect(application="payment-ledger audit")) as connection:
        findings = Findings()
        head = read_head(connection)
        is_there = check_asked(findings, head, start=start, upto=upto)
        last = head.position if upto is None else min(upto, head.position)
        seals = SealCheck(seal_before(connection, start), position=start - 1, findings=findings)
        for rows, page_end in sealed_pages(connection, after=seals.position, upto=last):
            seals.page(rows, upto=page_end)
            on_progress(seals.position - start + 1, last - start + 1)
        if upto is None and is_there:
            check_end(connection, seals, head, findings)
        check_expected(connection, expected, findings)
    return _report(seals, findings)


def verify_store(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    expected: Sequence[ExpectedHead] = (),
    on_progress: Progress[str] = no_progress,
) -> AuditReport:
    """Check everything in the store that follows from the log, from position `start` up to `upto`, or up to the head.

    An audit of a part of the log checks the effects of its events and trusts earlier events. Only an audit of the whole
    log checks the gateway queue, the head's counters and time, and that no key or snapshot is without an event.
    Raises LogBroken when the head is missing.
    """
    with closing(database.administration.connect(application="payment-ledger audit")) as connection:
        walk = Walk(connection, start=start, on_progress=on_progress)
        head = read_head(connection)
        is_there = check_asked(walk.log_findings, head, start=start, upto=upto)
        walk.to(head.position if upto is None else min(upto, head.position))
        if start <= 1 and upto is None:
            _check_whole(walk, on_progress)
        elif upto is None and is_there:
            check_end(connection, walk.seals, head, walk.log_findings)
        check_expected(connection, expected, walk.log_findings)
    return _report(walk.seals, walk.log_findings or walk.findings)


class Walk:
    """A walk over the log, page by page, with all checks that need only the page and earlier events.

    Errors in the hash chain and the head go into `log_findings`, all others into `findings`.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, start: int, on_progress: Progress[str]) -> None:
        self.connection = connection
        self.log_findings, self.findings = Findings(), Findings()
        self.seals = SealCheck(seal_before(connection, start), position=start - 1, findings=self.log_findings)
        self._snapshots = SnapshotCheck(connection, self.findings)
        self.replay = Replay(connection, self.findings, start=start, watch=self._snapshots.compare)
        self._start = start
        self._on_progress = on_progress

    def to(self, position: int) -> None:
        """Check the pages up to a position."""
        for rows, page_end in sealed_pages(self.connection, after=self.seals.position, upto=position):
            self.seals.page(rows, upto=page_end)
            if not self.log_findings:
                self._snapshots.expect(rows)
                audit_keys.check_keys_of(self.connection, self.findings, self.replay.page(rows))
            self._on_progress("events", page_end - self._start + 1, position - self._start + 1)


def _check_whole(walk: Walk, on_progress: Progress[str]) -> None:
    """Check the head and the gateway queue against the whole log, and find keys and snapshots without an event."""
    connection, findings, replay = walk.connection, walk.findings, walk.replay
    head, queue = _read_end(connection)
    walk.to(head.position)
    check_end(connection, walk.seals, head, walk.log_findings)
    if walk.log_findings:
        return
    replay.finish()
    counted = replay.next_account_id, replay.next_payment_sequence
    if not findings and (head.next_account_id, head.next_payment_sequence) != counted:
        findings.add(head.position, "the head's counters do not match the accounts and payments in the log")
    if replay.at is not None and head.at < replay.at:
        findings.add(head.position, "the head's time is earlier than that of the last event")
    check_clock(connection, findings, position=head.position)
    replay.operation.compare(connection, position=head.position)
    queued = {} if head.inactive else replay.queued_payments
    check_queue(findings, queue, queued, is_lost=replay.is_lost, position=head.position)
    last_events = {payment_id: known.position for payment_id, known in queued.items()}
    check_queue_bounds(connection, findings, last_events, position=head.position)
    on_progress("keys and snapshots", 0, 2)
    audit_keys.check_orphans(connection, findings, position=head.position)
    on_progress("keys and snapshots", 1, 2)
    audit_snapshots.check_orphans(connection, findings, position=head.position)
    on_progress("keys and snapshots", 2, 2)


def read_head(connection: psycopg.Connection[Any]) -> Head:
    """Read the head of the log. Raises LogBroken when it is missing."""
    row = connection.execute(SQL["read_head"], binary=True).fetchone()
    if row is None:
        raise LogBroken(position=0, what="the head is missing")
    return Head(*row)


def _read_end(connection: psycopg.Connection[Any]) -> tuple[Head, list[QueueRow]]:
    rows = connection.execute(SQL["read_end"], binary=True).fetchall()
    if not rows:
        raise LogBroken(position=0, what="the head is missing")
    return Head(*rows[0][:6]), [QueueRow(*row[6:]) for row in rows if row[6] is not None]


def check_asked(findings: Findings, head: Head, *, start: int, upto: int | None) -> bool:
    """Find a position that the audit was asked about and that the log does not have, and tell whether it is there.

    Without `upto` it is `start`, except 1: an audit of a whole log begins there, also when the log has no event yet.
    """
    asked = upto if upto is not None else start if start > 1 else 0
    if asked > head.position:
        findings.add(asked, beyond(head.position))
    return asked <= head.position


def beyond(position: int) -> str:
    """Say that a log that ends at `position` does not have a position after it."""
    return f"the log has no such position, it ends at {position}"


def check_end(connection: psycopg.Connection[Any], seals: SealCheck, head: Head, findings: Findings) -> None:
    """Compare the last seal with the head's, and find events after the head or before position 1."""
    if seals.digest != head.digest:
        findings.add(head.position, HEAD_SEAL_DIFFERS)
    for statement, what in (
        (LOG["read_first_beyond_head"], "the event is after the head of the log"),
        (SQL["read_first_before_start"], "the event is before the first position"),
    ):
        row = connection.execute(statement).fetchone()
        if row is not None:
            findings.add(row[0], what)


def check_expected(connection: psycopg.Connection[Any], expected: Sequence[ExpectedHead], findings: Findings) -> None:
    """Compare the log's seals with heads that an auditor has noted outside the store."""
    for head in expected:
        digest = seal_before(connection, head.position + 1).hex()
        if not digest:
            findings.add(head.position, "the log no longer has this position, although its seal was noted")
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
