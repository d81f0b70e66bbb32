"""Checks the gateway queue against the events: each open payment waits in it once, with what its events say is next.

What the events do not tell is left alone: who leases an entry, and how many inquiries were made without a clear answer.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ledger.audit_findings import Findings
from ledger.audit_replay import OpenPayment
from ledger.identifiers import payment_stream
from ledger.payment import Payment
from ledger.schedule import Schedule


class QueueRow(NamedTuple):
    """A row of the queue, as far as it can be checked."""

    payment_id: int
    account_id: int
    kind: str
    amount_minor: int
    fee_minor: int
    currency: str
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
    open_payments: Mapping[int, OpenPayment],
    *,
    is_lost: Callable[[str], bool],
    position: int,
) -> None:
    """Compare the queue with the open payments of the same moment.

    What is wrong is reported at the payment's last event, or where there is no open payment at the log's `position`.
    Payments whose events are lost to the replay are left out.
    """
    queued = {row.payment_id: row for row in rows}
    for payment_id, row in queued.items():
        known = open_payments.get(payment_id)
        if known is None:
            if not is_lost(payment_stream(payment_id)):
                findings.add(position, f"payment {payment_id} waits in the gateway queue, and is not open")
        elif known.schedule is not None:
            for name, (queue_has, log_has) in _differences(row, known.payment, known.schedule).items():
                what = (
                    f"in the gateway queue {name} of payment {payment_id} is {queue_has}, and by its events {log_has}"
                )
                findings.add(known.position, what)
    for payment_id in open_payments.keys() - queued.keys():
        findings.add(open_payments[payment_id].position, f"payment {payment_id} is open, and not in the gateway queue")


def _differences(row: QueueRow, payment: Payment, schedule: Schedule) -> dict[str, tuple[Any, Any]]:
    """Give what differs, as the queue has it and as the events have it."""
    calling = row.leased and row.action == "pay"
    by_events = {
        "account_id": payment.account_id,
        "kind": payment.kind,
        "amount_minor": payment.amount_minor,
        "fee_minor": payment.fee_minor,
        "currency": payment.currency,
        "series": payment.series,
        "gateway_key": payment.gateway_key,
        # An event that schedules nothing, such as a contradiction, may have come after the one that did.
        "payment_version": min(max(row.payment_version, schedule.version), payment.version),
        "due_at": schedule.due_at or row.due_at,
        # A claim counts the call before it is made.
        "attempt": payment.attempt + 1 if calling else payment.attempt,
        "action": schedule.action,
        "inquiries": max(row.inquiries, 1) if schedule.inquiries else 0,
        "unknown": payment.unknown,
    }
    queued = row._asdict()
    return {name: (queued[name], value) for name, value in by_events.items() if queued[name] != value}
