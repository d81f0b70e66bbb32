"""What the gateway is to be asked next about a payment, as the payment's events tell.

The queue says the same and more: who leases an entry, how many inquiries were made that changed nothing, and when the
next of those is due. What is not in an event is lost with the store, and made anew when a copy is taken over.
"""

from datetime import datetime

from msgspec import Struct

from ledger.decisions import QueueAction
from ledger.events import (
    GatewayAttempted,
    PaymentEvent,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
    Recorded,
)


class Schedule(Struct, frozen=True):
    """A payment's next call or inquiry, scheduled by the event of this version.

    `due_at` is None where no event tells it: after an inquiry without a clear answer. `inquiries` counts those that
    are known from the events, of which there may have been more.
    """

    action: QueueAction
    due_at: datetime | None
    inquiries: int
    version: int


def schedule_after(schedule: Schedule | None, recorded: Recorded[PaymentEvent]) -> Schedule | None:
    """Tell what is scheduled after an event: nothing when the payment has ended, or ends with what comes next."""
    version, event = recorded.originator_version, recorded.data
    match event:
        case PaymentRequested() | PaymentRequeued():
            return Schedule("pay", recorded.at, 0, version)
        case GatewayAttempted(late=False, retry_at=datetime() as due_at):
            return Schedule("pay", due_at, 0, version)
        case GatewayAttempted(late=False, inquire_at=datetime() as due_at):
            return Schedule("inquire", due_at, 0, version)
        case PaymentParked():
            return Schedule("inquire", None, 1, version)
        case GatewayAttempted(late=False) | PaymentSucceeded() | PaymentFailed():
            return None
        case _:
            return schedule
