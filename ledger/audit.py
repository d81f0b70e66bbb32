"""Proves the log: every seal recomputed, from the ledger's random id on, and held against what is stored.

The log is read in short pages by position, so that payments go on meanwhile and no snapshot is held for long. What this
finds is any changed, missing, added or swapped row, and a head that does not fit the log. What it cannot see is a log
that was rewritten or cut together with its head: only a head noted elsewhere reveals that.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.database import Database
from ledger.log import SQL as LOG
from ledger.log import Head
from ledger.migrate import ledger_id
from ledger.seal import first_seal, seal

PAGE: Final = 5_000
ERRORS_MAX: Final = 100


class AuditError(Struct, frozen=True):
    """Something wrong: at which position, and what."""

    position: int
    what: str


class AuditReport(Struct, frozen=True, kw_only=True):
    """What an audit found. `events` were checked; `digest` is the seal of the last one, at `position`, in hex."""

    ok: bool
    events: int
    position: int
    digest: str
    errors: list[AuditError]


def verify_seals(
    database: Database,
    *,
    start: int = 1,
    upto: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Recompute the seals from position `start` up to `upto`, or to the head as it is when the audit begins.

    `on_progress` is told the events done and to do after each page. A check that does not start at 1 trusts the seal
    before its start. At most ERRORS_MAX errors are listed; the check goes on to the end all the same.
    """
    with closing(database.connect(application="payment-ledger audit")) as connection:
        head = _head(connection)
        last = head.position if upto is None else min(upto, head.position)
        checking = _Checking(_seal_before(connection, start), position=start - 1)
        while checking.position < last:
            page_end = min(checking.position + PAGE, last)
            parameters = {"after": checking.position, "upto": page_end}
            checking.page(connection.execute(LOG["read_sealed"], parameters, prepare=True, binary=True), page_end)
            if on_progress is not None:
                on_progress(checking.position - start + 1, last - start + 1)
        if upto is None:
            _check_end(connection, checking, head)
    return AuditReport(
        ok=not checking.errors,
        events=checking.events,
        position=checking.position,
        digest=checking.digest.hex(),
        errors=checking.errors[:ERRORS_MAX],
    )


class _Checking:
    """A check under way: the seal of the last row, and what was found."""

    def __init__(self, digest: bytes, *, position: int) -> None:
        self.digest = digest
        self.position = position
        self.events = 0
        self.errors: list[AuditError] = []

    def page(self, rows: psycopg.Cursor[Any], page_end: int) -> None:
        """Check the rows of one page, which are to be all positions up to its end."""
        for position, originator_id, version, topic, state, stored in rows:
            self._missing_before(position)
            recomputed = seal(
                self.digest,
                position=position,
                originator_id=originator_id,
                originator_version=version,
                topic=topic,
                state=state,
            )
            if recomputed != stored:
                self.errors.append(AuditError(position, f"the seal of {topic} in {originator_id} does not fit"))
            # From the stored seal on, so that one wrong row is one error and not all rows after it.
            self.digest, self.position = bytes(stored), position
            self.events += 1
        self._missing_before(page_end + 1)

    def _missing_before(self, position: int) -> None:
        if position > self.position + 1:
            self.errors.append(AuditError(self.position + 1, f"{position - self.position - 1} rows are missing"))
            self.position = position - 1


def _head(connection: psycopg.Connection[Any]) -> Head:
    row = connection.execute(LOG["read_head"], binary=True).fetchone()
    assert row is not None
    return Head(*row)


def _seal_before(connection: psycopg.Connection[Any], start: int) -> bytes:
    if start <= 1:
        return first_seal(ledger_id(connection))
    row = connection.execute(LOG["read_digest"], {"position": start - 1}).fetchone()
    return b"" if row is None else bytes(row[0])


def _check_end(connection: psycopg.Connection[Any], checking: _Checking, head: Head) -> None:
    """Hold the log's end against the head that was read with it, and look for rows that the head does not know."""
    if checking.digest != head.digest:
        checking.errors.append(AuditError(head.position, "the head's seal is not that of the last event"))
    beyond = connection.execute(LOG["read_first_beyond_head"]).fetchone()
    if beyond is not None:
        checking.errors.append(AuditError(beyond[0], "the log goes on beyond its head"))
