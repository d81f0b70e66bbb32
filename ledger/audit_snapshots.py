"""Checks the snapshots: each is to be the account as its events make it at that version, to the last field.

Those of another shape of the account are passed over, as by everybody who reads an account.
"""

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from ledger.account import Account
from ledger.audit_findings import Findings
from ledger.audit_seals import SealedRow
from ledger.mapper import SNAPSHOT_TOPIC, decode_snapshot
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "audit.sql")

PAGE: Final = 5_000


class SnapshotCheck:
    """A check under way.

    `expect` reads a page's snapshots before its events are replayed, and `hold` compares each account with them.
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

    def hold(self, position: int, account: Account) -> None:
        """Compare an account, as an event leaves it, with the snapshot of that version, if there is one."""
        topic, state = self._snapshots.get((account.id, account.version), (None, b""))
        if topic != SNAPSHOT_TOPIC:
            return
        try:
            taken = decode_snapshot(state)
        except Exception as error:  # noqa: BLE001 - whatever reading raises, this snapshot cannot be read
            self._findings.add(position, f"the snapshot of {account.id} cannot be read: {error}")
            return
        if taken != account:
            self._findings.add(
                position, f"the snapshot of {account.id} at version {account.version} is another account"
            )


def check_baseless(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    """Look for snapshots of what the log does not have; they are reported at the log's last position."""
    after = ("", 0)
    while True:
        parameters = {"stream": after[0], "version": after[1], "limit": PAGE}
        rows = connection.execute(SQL["page_of_baseless_snapshots"], parameters, prepare=True).fetchall()
        for stream, version, baseless in rows:
            if baseless or not stream.startswith("account-"):
                findings.add(position, f"there is a snapshot of {stream} at version {version}, and no such account")
        if len(rows) < PAGE:
            return
        after = rows[-1][:2]
