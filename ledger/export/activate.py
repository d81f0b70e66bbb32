"""Activates an imported copy of the ledger: from then on it takes commands and calls the gateway.

`activate` audits the log and rebuilds the gateway queue from it. The old store may have accepted payments and called
the gateway after its last exported event, and the copy cannot know that. So it recovers the copy (`ledger.recovery`):
every call counts as begun, whenever it is due, and no number is given that the old store may have given.
"""

from contextlib import closing
from datetime import datetime
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.audit.places import QueuedPayment
from ledger.audit.verify import Walk, check_end, read_head
from ledger.domain.decision import QueueEntry
from ledger.domain.gateway_schedule import queue_entry
from ledger.export.errors import StoreInCharge
from ledger.export.retire import check_not_retired
from ledger.progress import Progress, no_progress
from ledger.recovery.recover import recover_within
from ledger.recovery.server import server_of
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.gateway_queue import enqueue
from ledger.store.log import PAGE, Head, clock_of
from ledger.store.log import SQL as LOG
from ledger.store.notifications import wake
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.export", "activate.sql")

WHY: Final = "a copy was put in charge"


class Activated(Struct, frozen=True, kw_only=True):
    """An activated store: its last position and seal (in hex), and the number of its open payments.

    `skipped` is how many numbers of accounts, and of payments, the store leaves out.
    """

    position: int
    digest: str
    open_payments: int
    skipped: int


def activate(database: Database, *, skip: int | None = None, on_progress: Progress[str] = no_progress) -> Activated:
    """Activate an inactive store, and leave a gap in its numbers: of the size `skip`, or as `default_skip` has it.

    Raises StoreRetired for a store that another one has succeeded, StoreInCharge for a store that is not inactive and
    LogBroken when the audit finds an error in its log, and OutcomeUnknown when the commit is in doubt.
    """
    check_not_retired(database)
    with closing(
        database.administration.connect(application="payment-ledger take-over", owner=True, options=WARNED)
    ) as connection:
        head = read_head(connection)
        if not head.inactive:
            raise StoreInCharge
        queued = _queued_payments(connection, head, on_progress)
        server = _server_of_writers(database)
        with certain_commits(connection), connection.transaction():
            _lock(connection, head)
            now = clock_of(connection)
            for first in range(0, len(queued), PAGE):
                enqueue(connection, [_entry(known, now=now) for known in queued[first : first + PAGE]])
            connection.execute(SQL["activate"])
            recovered, _ = recover_within(connection, why=WHY, skip=skip, server=server)
        wake(connection, database, "log", "queue")
        reached = read_head(connection)
    return Activated(
        position=reached.position,
        digest=reached.digest.hex(),
        open_payments=sum(not known.payment.ended for known in queued),
        skipped=recovered.skipped,
    )


def _server_of_writers(database: Database) -> str | None:
    """Name the server that writers compare with the noted one: theirs, which may not be the one of administration."""
    with closing(database.connect(application="payment-ledger take-over")) as connection:
        return server_of(connection)


def _queued_payments(
    connection: psycopg.Connection[Any], head: Head, on_progress: Progress[str]
) -> list[QueuedPayment]:
    """Audit the log, and return the payments that the gateway is called or asked about. Raises LogBroken."""
    walk = Walk(connection, start=1, on_progress=on_progress)
    walk.to(head.position)
    walk.replay.finish()
    check_end(connection, walk.seals, head, walk.log_findings)
    walk.log_findings.refuse()
    walk.findings.refuse()
    return list(walk.replay.queued_payments.values())


def _lock(connection: psycopg.Connection[Any], head: Head) -> None:
    """Lock the head. Raises StoreInCharge when another process has activated the store since the audit began."""
    row = connection.execute(LOG["lock_head"], binary=True).fetchone()
    if row is None or Head(*row) != head:
        raise StoreInCharge


def _entry(known: QueuedPayment, *, now: datetime) -> QueueEntry:
    """Give a payment's place in the queue, as the store before had it when its last event was written."""
    assert known.schedule is not None, "the audit has found no payment of which nobody knows what is next"
    return queue_entry(known.payment, known.schedule, otherwise_due_at=now)
