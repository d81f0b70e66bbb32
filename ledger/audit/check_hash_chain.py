"""Verifies the hash chain: recomputes the seal of every row in the order of the log, beginning with the ledger's id."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import psycopg

from ledger.audit.findings import Findings
from ledger.store.hash_chain import first_seal, seal
from ledger.store.log import PAGE
from ledger.store.log import SQL as LOG
from ledger.store.migrate import ledger_id
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "verify.sql")


class SealedRow(NamedTuple):
    """A stored row of the log; `digest` is its seal."""

    position: int
    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    digest: bytes


class SealCheck:
    """A verification in progress: `digest` is the seal of the last checked row, and `position` its position.

    `events` counts the checked rows. Errors are added to the findings.
    """

    def __init__(self, digest: bytes, *, position: int, findings: Findings) -> None:
        """Begin after a position, whose seal is trusted."""
        self.digest = digest
        self.position = position
        self.events = 0
        self._findings = findings

    def page(self, rows: Iterable[SealedRow], *, upto: int) -> None:
        """Check the rows of one page, which must contain all positions after the last page up to `upto`."""
        for row in rows:
            if row.position > self.position + 1:
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
                what = f"the seal of {row.topic} in {row.originator_id} does not match its row"
                self._findings.add(row.position, what)
            # Continue from the stored seal, so that one wrong row is one error, and the rows after it are not errors
            # too.
            self.digest, self.position = row.digest, row.position
            self.events += 1
        self._missing_before(upto + 1)

    def _missing_before(self, position: int) -> None:
        if position > self.position + 1:
            count = position - self.position - 1
            what = "the event is missing" if count == 1 else f"{count} events are missing from this position on"
            self._findings.add(self.position + 1, what)
            self.position = position - 1


def seal_before(connection: psycopg.Connection[Any], start: int) -> bytes:
    """Return the seal before position `start`: that of the previous event, or at position 1 that of the ledger's id.

    It is empty when the previous event does not exist.
    """
    if start <= 1:
        return first_seal(ledger_id(connection))
    row = connection.execute(LOG["read_digest"], {"position": start - 1}).fetchone()
    return b"" if row is None else bytes(row[0])


def sealed_pages(
    connection: psycopg.Connection[Any], *, after: int, upto: int
) -> Iterator[tuple[list[SealedRow], int]]:
    """Yield pages of the log with its seals, each read in one short statement, with the last position of each page.

    A gap is one page, however wide it is: a head that points far beyond the log would otherwise cost years of queries.
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
