"""The next call or inquiry about a payment, computed from the payment's events.

The queue stores the same and more: the holder of a lease, the number of inquiries that changed nothing, and the time
of the next inquiry. Those are lost with the store, and set again when a copy is activated.

`decide` computes queue entries from commands. This module computes them from events, and the audit compares the queue
with the result. The two are independent on purpose; a test of random stories compares them.
"""

from datetime import datetime
from typing import assert_never

from msgspec import Struct

from ledger.domain.decision import QueueAction, QueueEntry
from ledger.domain.events import (
    GatewayAttempted,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEvent,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
    facts_of,
)
from ledger.domain.payment import Payment


class Schedule(Struct, frozen=True):
    """A payment's next call or inquiry, scheduled by the event of this version.

    `due_at` is None after an inquiry without a clear answer, because no event has the time then. A late inquiry without
    one is repeated some time after `due_at`. With `at_once` it is the event's time, which is later than the entry's if
    the clock had been set back. `inquiries` counts those with an event; more may have been made. Of late ones it counts
    those with a clear answer, which all have one.
    """

    action: QueueAction
    due_at: datetime | None
    inquiries: int
    version: int
    at_once: bool = False

    def due(self, *, otherwise: datetime) -> datetime:
        """Tell when an entry is due; `otherwise` is its time where no event tells it, or where that was earlier."""
        if self.due_at is None or (self.at_once and otherwise < self.due_at):
            return otherwise
        return self.due_at


def schedule_after(schedule: Schedule | None, recorded: Recorded[PaymentEvent]) -> Schedule | None:
    """Return the schedule after an event. None if the payment has ended, or ends with its next event.

    Only a payment that failed although the gateway has not declined it is asked about after its end.
    """
    version, event = recorded.originator_version, recorded.data
    match event:
        case PaymentRequested() | PaymentRequeued():
            asks_first = isinstance(event, PaymentRequeued) and event.asks_first
            return Schedule("inquire_first" if asks_first else "pay", recorded.at, 0, version, at_once=True)
        case PaymentInquired():
            return _after_inquiry(schedule, event, version)
        case PaymentFailed(inquire_at=datetime() as due_at):
            return Schedule("inquire_late", due_at, 0, version)
        case GatewayAttempted(late=True) | PaymentContradicted() | PaymentResolved() | PaymentAdjusted():
            return schedule
        case GatewayAttempted(retry_at=datetime() as due_at):
            return Schedule("pay", due_at, 0, version)
        case GatewayAttempted(inquire_at=datetime() as due_at):
            return Schedule("inquire", due_at, 0, version)
        case PaymentParked():
            asks_first = schedule is not None and schedule.action == "inquire_first"
            return Schedule("inquire_first" if asks_first else "inquire", None, 1, version)
        case GatewayAttempted() | PaymentSucceeded() | PaymentFailed():
            return None
        case never:
            assert_never(never)


def _after_inquiry(schedule: Schedule | None, event: PaymentInquired, version: int) -> Schedule | None:
    """Tell what an inquiry schedules: a series' first call, the next late inquiry, or nothing new."""
    if event.call_at is not None:
        return Schedule("pay", event.call_at, 0, version)
    if not event.late:
        return schedule
    answered = 0 if schedule is None else schedule.inquiries
    return None if event.inquire_at is None else Schedule("inquire_late", event.inquire_at, answered + 1, version)


def queue_entry(payment: Payment, schedule: Schedule, *, otherwise_due_at: datetime) -> QueueEntry:
    """Give a payment's place in the queue as its events make it, due at another time only where no event tells when."""
    assert payment.ended == (schedule.action == "inquire_late"), (payment, schedule)
    assert schedule.version <= payment.version, (schedule, payment)
    return QueueEntry(
        *facts_of(payment),
        series=payment.series,
        gateway_key=payment.gateway_key,
        payment_version=payment.version,
        due_at=schedule.due(otherwise=otherwise_due_at),
        attempt=payment.attempt,
        action=schedule.action,
        inquiries=schedule.inquiries,
        unknown=payment.unknown,
    )
