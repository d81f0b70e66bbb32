"""Puts a copy of the ledger in charge: from then on it takes commands and calls the gateway.

The log is audited once more, and the gateway queue made again from it. What the store before has done since its last
event nobody here can know, and so a payment may have been called there that is due here. Such a call counts as begun
and lost, as if its worker had died: its entry has an attempt more and a lease that has run out, and the worker who
finds it records that attempt as unknown before it calls again with the same gateway key. So no payment fails although
its money moved, and none moves it twice at a gateway that honours its keys.
"""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger.audit import Progress, Walk, check_end, read_head
from ledger.audit_replay import OpenPayment
from ledger.database import Database
from ledger.decisions import QueueEntry
from ledger.errors import LogBroken, StoreInCharge
from ledger.keys_and_queue import enqueue
from ledger.log import SQL as LOG
from ledger.log import Head
from ledger.sql import load_statements
from ledger.wakeup import wake

SQL: Final = load_statements("ledger", "take_over.sql")

CLOCKS_APART_MAX: Final = timedelta(minutes=1)
"""By how much the clock of the store before may have been ahead of this one."""

LEASED_BY: Final = "take-over"


class TakenOver(Struct, frozen=True, kw_only=True):
    """A store that is in charge now: its log's end, and how many payments are on their way through the gateway."""

    position: int
    digest: str
    open_payments: int


def take_over(database: Database, *, on_progress: Progress = lambda _stage, _done, _total: None) -> TakenOver:
    """Put a withheld store in charge.

    Raises StoreInCharge for one that is not withheld, LogBroken for one whose log is not as it was written.
    """
    with closing(database.connect(application="payment-ledger take-over", owner=True)) as connection:
        head = read_head(connection)
        if not head.withheld:
            raise StoreInCharge
        open_payments = _open_payments(connection, head, on_progress)
        with connection.transaction():
            _lock(connection, head)
            now = _now(connection)
            entries = [_entry(known, now=now) for known in open_payments]
            enqueue(connection, entries)
            begun = {"now": now, "latest": now + CLOCKS_APART_MAX, "leased_by": LEASED_BY}
            connection.execute(SQL["count_as_begun"], begun)
            connection.execute(SQL["put_in_charge"])
        wake(connection, database, "log", "queue")
    return TakenOver(position=head.position, digest=head.digest.hex(), open_payments=len(open_payments))


def _open_payments(connection: psycopg.Connection[Any], head: Head, on_progress: Progress) -> list[OpenPayment]:
    """Audit the log, and give the payments that have not ended. Raises LogBroken."""
    walk = Walk(connection, start=1, on_progress=on_progress)
    walk.to(head.position)
    walk.replay.finish()
    check_end(connection, walk.seals, head, walk.unsealed)
    for findings in (walk.unsealed, walk.findings):
        if findings:
            first = findings.first[0]
            raise LogBroken(position=first.position, what=first.what)
    return list(walk.replay.open_payments.values())


def _lock(connection: psycopg.Connection[Any], head: Head) -> None:
    """Make sure that nobody was quicker. Raises StoreInCharge."""
    row = connection.execute(LOG["lock_head"], binary=True).fetchone()
    if row is None or Head(*row) != head:
        raise StoreInCharge


def _now(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute(LOG["read_clock"]).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def _entry(known: OpenPayment, *, now: datetime) -> QueueEntry:
    """Give a payment's place in the queue, as the store before had it when its last event was written."""
    payment, schedule = known.payment, known.schedule
    assert schedule is not None, "the audit has found no payment of which nobody knows what is next"
    return QueueEntry(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=payment.series,
        gateway_key=payment.gateway_key,
        payment_version=payment.version,
        due_at=schedule.due_at or now,
        attempt=payment.attempt,
        action=schedule.action,
        inquiries=schedule.inquiries,
        unknown=payment.unknown,
    )
