"""Checks the seals of the log, row after row, from the ledger's random id on."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import psycopg

from ledger.audit_findings import Findings
from ledger.log import SQL as LOG
from ledger.migrate import ledger_id
from ledger.seal import first_seal, seal
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "audit.sql")

PAGE: Final = 5_000


class SealedRow(NamedTuple):
    """A row of the log as it is stored."""

    position: int
    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    digest: bytes


class SealCheck:
    """A check under way: `digest` is the seal of the last row, which stands at `position`.

    `events` counts the rows. What is wrong goes into the findings.
    """

    def __init__(self, digest: bytes, *, position: int, findings: Findings) -> None:
        """Go on behind a position, whose seal is trusted."""
        self.digest = digest
        self.position = position
        self.events = 0
        self._findings = findings

    def page(self, rows: Iterable[SealedRow], *, upto: int) -> None:
        """Check the rows of one page, which are to be all positions up to its end."""
        for row in rows:
            self._missing_before(row.position)
            recomputed = seal(
                self.digest,
                position=row.position,
                originator_id=row.originator_id,
                originator_version=row.originator_version,
                topic=row.topic,
                state=row.state,
            )
            if recomputed != row.digest:
                what = f"the seal of {row.topic} in {row.originator_id} does not fit"
                self._findings.add(row.position, what)
            # From the stored seal on, so that one wrong row is one error and not all rows after it.
            self.digest, self.position = row.digest, row.position
            self.events += 1
        self._missing_before(upto + 1)

    def _missing_before(self, position: int) -> None:
        if position > self.position + 1:
            count = position - self.position - 1
            what = "the event is missing" if count == 1 else f"{count} events are missing, from this position on"
            self._findings.add(self.position + 1, what)
            self.position = position - 1


def seal_before(connection: psycopg.Connection[Any], start: int) -> bytes:
    """Give the seal that stands before a position: the event's before it, or that of the ledger's id."""
    if start <= 1:
        return first_seal(ledger_id(connection))
    row = connection.execute(LOG["read_digest"], {"position": start - 1}).fetchone()
    return b"" if row is None else bytes(row[0])


def sealed_pages(
    connection: psycopg.Connection[Any], *, after: int, upto: int
) -> Iterator[tuple[list[SealedRow], int]]:
    """Read a part of the log with its seals, page by page, each in one short statement; and how far each page goes.

    A gap, however wide, is one page: a head that points far beyond the log is no reason to look for years.
    """
    while after < upto:
        page_end = min(after + PAGE, upto)
        parameters = {"after": after, "upto": page_end}
        cursor = connection.execute(LOG["read_sealed"], parameters, prepare=True, binary=True)
        rows = [SealedRow(*row) for row in cursor]
        if not rows:
            row = connection.execute(SQL["read_next_position"], parameters, prepare=True).fetchone()
            page_end = upto if row is None else min(row[0] - 1, upto)
        yield rows, page_end
        after = page_end
