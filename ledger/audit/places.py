"""The stream in which an event belongs, and a payment with its place in the log."""

from typing import Any, NamedTuple

from ledger.domain.account import Account
from ledger.domain.events import AccountEvent, Recorded
from ledger.domain.gateway_schedule import Schedule
from ledger.domain.identifiers import account_stream, payment_stream, stream_id
from ledger.domain.payment import Payment


class QueuedPayment(NamedTuple):
    """A payment, its next gateway call if an event schedules one, and the position of its last event."""

    payment: Payment
    schedule: Schedule | None
    position: int

    @property
    def is_queued(self) -> bool:
        """Whether the gateway is still to be called or asked about the payment."""
        return not self.payment.ended or self.schedule is not None


def is_of(known: Account | Payment | None, recorded: Recorded[Any]) -> bool:
    """Tell whether an event is of an account or payment that is known by the event's stream."""
    if isinstance(known, Payment):
        return bool(known.payment_id == recorded.data.payment_id)
    return known is not None


def expected_stream(recorded: Recorded[Any]) -> str | None:
    """Return the stream that an event belongs to; None for an account's event in a stream that is not an account's."""
    if not isinstance(recorded.data, AccountEvent):
        return payment_stream(recorded.data.payment_id)
    try:
        return account_stream(stream_id(recorded.originator_id))
    except ValueError:
        return None
