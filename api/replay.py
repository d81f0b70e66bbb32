"""The replay of one account or payment: each of its events, with what it has come to by it.

It answers why a balance is what it is, from the events alone, and page by page, however many there are.
"""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any, Final, cast

from eventsourcing.persistence import MapperDeserialisationError
from msgspec import Struct

import ledger.account
import ledger.payment
from api.amounts import decimal
from api.payments import EventView, event_view
from api.times import Timestamp, optional_timestamp
from ledger.account import Account
from ledger.database import Database
from ledger.decisions import QueueAction
from ledger.errors import AccountNotFound, LogBroken, PaymentNotFound
from ledger.events import AccountEvent, AccountOpened, EndedBy, PaymentRequested, Recorded
from ledger.identifiers import account_stream, payment_stream
from ledger.mapper import decode
from ledger.payment import LetterState, Payment, PaymentState
from ledger.schedule import Schedule, schedule_after
from ledger.sql import load_statements

SQL: Final = load_statements("api", "replay.sql")

PAGE: Final = 1_000


class AccountAfter(Struct, frozen=True, kw_only=True):
    """What an account holds after an event."""

    balance: Decimal
    held: Decimal
    available: Decimal
    currency: str


class PaymentAfter(Struct, frozen=True, kw_only=True):
    """How a payment stands after an event, and what the gateway is asked next.

    `in_doubt` says that an attempt under the gateway key may have moved the money, `held` that the account's money is
    set aside, `letter` why an operator has to look, if he has to. `next_at` is null where no event tells it.
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
    """An event, and what its account or payment has come to by it."""

    after: AccountAfter | PaymentAfter


def replay_account(database: Database, account_id: int) -> Iterator[ReplayedEvent]:
    """Replay an account. Raises AccountNotFound; LogBroken where an event cannot be read."""
    account: Account | None = None
    for position, recorded in _read_stream(database, account_stream(account_id)):
        account = ledger.account.evolve(account, recorded)
        yield _replayed(position, recorded, _account_after(account))
    if account is None:
        raise AccountNotFound(account_id=account_id)


def replay_payment(database: Database, payment_id: int) -> Iterator[ReplayedEvent]:
    """Replay a payment. Raises PaymentNotFound; LogBroken where an event cannot be read."""
    payment: Payment | None = None
    schedule: Schedule | None = None
    for position, recorded in _read_stream(database, payment_stream(payment_id)):
        payment, schedule = ledger.payment.evolve(payment, recorded), schedule_after(schedule, recorded)
        yield _replayed(position, recorded, _payment_after(payment, schedule))
    if payment is None:
        raise PaymentNotFound(payment_id=payment_id)


def _read_stream(database: Database, stream: str) -> Iterator[tuple[int, Recorded[Any]]]:
    """Read a stream page by page. An event that does not follow the one before it ends the replay: Raises LogBroken."""
    after = 0
    with closing(database.connect(application="payment-ledger replay")) as connection:
        while True:
            parameters = {"stream": stream, "after": after, "limit": PAGE}
            rows = connection.execute(SQL["page_of_stream"], parameters, prepare=True, binary=True).fetchall()
            for position, version, topic, state in rows:
                if version != after + 1:
                    what = f"version {version} of {stream} follows version {after}"
                    raise LogBroken(position=position, what=what)
                after = version
                yield position, _decode(position, stream, version, topic, state)
            if len(rows) < PAGE:
                return


def _decode(position: int, stream: str, version: int, topic: str, state: bytes) -> Recorded[Any]:
    try:
        recorded = decode(stream, version, topic, state)
    except MapperDeserialisationError as error:
        raise LogBroken(position=position, what=str(error)) from error
    event = recorded.data
    is_first = isinstance(event, AccountOpened | PaymentRequested)
    if is_first != (version == 1) or isinstance(event, AccountEvent) != stream.startswith("account-"):
        raise LogBroken(position=position, what=f"{topic} is version {version} of {stream}")
    return cast("Recorded[Any]", recorded)


def _replayed(position: int, recorded: Recorded[Any], after: AccountAfter | PaymentAfter) -> ReplayedEvent:
    event = event_view(position, recorded)
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
