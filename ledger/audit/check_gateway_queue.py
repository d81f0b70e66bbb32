"""Checks the gateway queue against the events: one entry for each payment that goes on at the gateway.

These are the open payments, and those that failed because the gateway did not know them and are asked about late.
No event records the lease of an entry, nor the number and the time of inquiries that got no clear answer;
`check_bounds` checks them against bounds. After the database's clock was set back, workers let an entry be due earlier
than its event says, so that it does not wait for the former time, and no event records that either.
None has the time of a call that is due later because the gateway answered it with 429.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ledger.audit.findings import Findings
from ledger.audit.places import QueuedPayment
from ledger.domain.events import PaymentFacts
from ledger.domain.gateway_schedule import Schedule, queue_entry
from ledger.domain.identifiers import payment_stream
from ledger.domain.payment import Payment


class QueueRow(PaymentFacts, frozen=True):
    """The columns of a queue row that the audit can check; `leased` says whether a worker holds a lease."""

    series: int
    gateway_key: str
    payment_version: int
    due_at: datetime
    attempt: int
    action: str
    inquiries: int
    unknown: bool
    leased: bool


def check_queue(
    findings: Findings,
    rows: Iterable[QueueRow],
    payments: Mapping[int, QueuedPayment],
    *,
    is_lost: Callable[[str], bool],
    position: int,
) -> None:
    """Compare the queue's rows with the payments that belong into it, both read at the same log position.

    An error is reported at the payment's last event, or at the log's `position` for a row that belongs to none of them.
    Payments whose streams could not be replayed (`is_lost`) are skipped.
    """
    queued = {row.payment_id: row for row in rows}
    for payment_id, row in queued.items():
        known = payments.get(payment_id)
        if known is None:
            if not is_lost(payment_stream(payment_id)):
                findings.add(position, f"payment {payment_id} is in the gateway queue, but it is not open")
        elif known.schedule is not None:
            for name, (queue_has, log_has) in _differences(row, known.payment, known.schedule).items():
                what = f"{name} of payment {payment_id} is {queue_has} in the gateway queue and {log_has} by its events"
                findings.add(known.position, what)
    for payment_id in payments.keys() - queued.keys():
        known = payments[payment_id]
        why = "is to be asked about late" if known.payment.ended else "is open"
        findings.add(known.position, f"payment {payment_id} {why}, but it is not in the gateway queue")


def _differences(row: QueueRow, payment: Payment, schedule: Schedule) -> dict[str, tuple[Any, Any]]:
    """Return each column that differs, with its value in the queue and its value by the events."""
    calling = row.leased and row.action == "pay"
    asked_late = schedule.action == "inquire_late"
    entry = queue_entry(payment, schedule, otherwise_due_at=row.due_at)
    by_events = msgspec.structs.asdict(entry) | {
        # A late inquiry without a clear answer puts the next one off, and a 429 its call. No event records that.
        "due_at": row.due_at if asked_late or row.action == "pay" else min(row.due_at, entry.due_at),
        # After the event that scheduled the call, an event that schedules nothing may follow, such as a contradiction.
        "payment_version": min(max(row.payment_version, schedule.version), payment.version),
        # The worker's claim counts the attempt before the worker makes the call.
        "attempt": payment.attempt + 1 if calling else payment.attempt,
        "inquiries": max(row.inquiries, 1) if schedule.inquiries and not asked_late else schedule.inquiries,
    }
    queued = {name: value for name, value in msgspec.structs.asdict(row).items() if name in by_events}
    return {name: (value, by_events[name]) for name, value in queued.items() if value != by_events[name]}
