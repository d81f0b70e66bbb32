"""Checks the snapshots: each must equal, in every field, the account that its events give at that version.

Snapshots of another shape of the account are skipped, as every reader of accounts skips them.
"""

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from ledger.audit.check_hash_chain import SealedRow
from ledger.audit.findings import Findings
from ledger.domain.account import Account
from ledger.store.log import PAGE
from ledger.store.serialization import SNAPSHOT_TOPIC, decode_snapshot
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "verify.sql")


class SnapshotCheck:
    """A check in progress.

    `expect` reads a page's snapshots before the page's events are replayed; `compare` compares each account with them.
    """

    def __init__(self, connection: psycopg.Connection[Any], findings: Findings) -> None:
        self._connection = connection
        self._findings = findings
        self._snapshots: dict[tuple[str, int], tuple[str, bytes]] = {}

    def expect(self, rows: Sequence[SealedRow]) -> None:
        """Read the snapshots of the page's accounts."""
        accounts = [row for row in rows if row.originator_id.startswith("account-")]
        parameters = {
            "streams": [row.originator_id for row in accounts],
            "versions": [row.originator_version for row in accounts],
        }
        found = self._connection.execute(SQL["read_snapshots"], parameters, prepare=True, binary=True)
        self._snapshots = {(stream, version): (topic, state) for stream, version, topic, state in found}

    def compare(self, position: int, account: Account) -> None:
        """Compare the account after the event at `position` with the snapshot of that version, if there is one."""
        topic, state = self._snapshots.get((account.id, account.version), (None, b""))
        if topic != SNAPSHOT_TOPIC:
            return
        try:
            taken = decode_snapshot(state)
        except Exception as error:  # noqa: BLE001 - any error in decoding means that the snapshot cannot be read
            self._findings.add(position, f"the snapshot of {account.id} cannot be read: {error}")
            return
        if taken != account:
            self._findings.add(
                position, f"the snapshot of {account.id} at version {account.version} does not match its events"
            )


def check_orphans(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    """Find snapshots without an event of their version; they are reported at the log's last `position`."""
    after = ("", 0)
    while True:
        parameters = {"stream": after[0], "version": after[1], "limit": PAGE}
        rows = connection.execute(SQL["page_of_snapshots"], parameters, prepare=True).fetchall()
        for stream, version, orphaned in rows:
            if orphaned or not stream.startswith("account-"):
                findings.add(position, f"the snapshot of {stream} at version {version} has no event of an account")
        if len(rows) < PAGE:
            return
        after = rows[-1][:2]
