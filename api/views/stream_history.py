"""The replay of one account or payment: each of its events, with the account or payment after the event.

It explains a balance from the events alone. It reads the events page by page, so a stream may be of any length.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from msgspec import Struct

from api.http.amounts import decimal
from api.http.times import Timestamp, optional_timestamp
from api.views.payments import EventView, event_view
from ledger.application.application import Ledger
from ledger.domain.account import Account
from ledger.domain.decision import QueueAction
from ledger.domain.events import EndedBy, Recorded
from ledger.domain.gateway_schedule import Schedule
from ledger.domain.payment import LetterState, Payment, PaymentState
from ledger.partition.partition import Partition


class AccountAfter(Struct, frozen=True, kw_only=True):
    """The balance of an account after an event."""

    balance: Decimal
    held: Decimal
    available: Decimal
    currency: str


class PaymentAfter(Struct, frozen=True, kw_only=True):
    """A payment after an event, and its next gateway call.

    `in_doubt` says that an attempt under the gateway key may have moved the money, and `held` that the account's money
    is held. `letter` is the state of the dead letter, or null. `next_at` is null where no event records it.
    """

    state: PaymentState
    series: int
    attempt: int
    gateway_key: str
    in_doubt: bool
    held: bool
    last_error: str | None
    ended_by: EndedBy | None
    letter: LetterState | None
    next: QueueAction | None
    next_at: Timestamp | None


class ReplayedEvent(EventView, frozen=True, kw_only=True):
    """An event, and its account or payment after it."""

    after: AccountAfter | PaymentAfter


def replay_account(partition: Partition, account_id: int) -> Iterator[ReplayedEvent]:
    """Replay an account. Raises AccountNotFound, DatabaseUnavailable, and LogBroken for an unreadable event."""
    with Ledger(partition.database) as ledger:
        for position, recorded, account in ledger.replay_account(account_id):
            yield _replayed(partition, position, recorded, _account_after(account))


def replay_payment(partition: Partition, payment_id: int) -> Iterator[ReplayedEvent]:
    """Replay a payment. Raises PaymentNotFound, DatabaseUnavailable, and LogBroken for an unreadable event."""
    with Ledger(partition.database) as ledger:
        for position, recorded, payment, schedule in ledger.replay_payment(payment_id):
            yield _replayed(partition, position, recorded, _payment_after(payment, schedule))


def _replayed(
    partition: Partition, position: int, recorded: Recorded[Any], after: AccountAfter | PaymentAfter
) -> ReplayedEvent:
    event = event_view(position, recorded, partition=partition.number)
    return ReplayedEvent(after=after, **{name: getattr(event, name) for name in EventView.__struct_fields__})


def _account_after(account: Account) -> AccountAfter:
    return AccountAfter(
        balance=decimal(account.posted_minor, account.currency),
        held=decimal(account.held_minor, account.currency),
        available=decimal(account.available_minor, account.currency),
        currency=account.currency,
    )


def _payment_after(payment: Payment, schedule: Schedule | None) -> PaymentAfter:
    return PaymentAfter(
        state=payment.state,
        series=payment.series,
        attempt=payment.attempt,
        gateway_key=payment.gateway_key,
        in_doubt=payment.unknown,
        held=payment.held,
        last_error=payment.last_error,
        ended_by=payment.ended_by,
        letter=payment.letter,
        next=None if schedule is None else schedule.action,
        next_at=None if schedule is None else optional_timestamp(schedule.due_at),
    )
