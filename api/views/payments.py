"""Answers about payments: on acceptance, with their status, in pages, and event by event."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.http.amounts import decimal
from api.http.times import Timestamp, optional_timestamp, timestamp
from api.queries.payments import PaymentRow
from ledger.application.application import Placed
from ledger.domain.commands import PaymentAcceptance
from ledger.domain.events import PaymentEvent, Recorded
from ledger.domain.kinds import KINDS, PaymentKind
from projections.models.payment_status import Status


class PaymentAccepted(Struct, frozen=True, kw_only=True):
    """An accepted payment, which is still pending; `deposit` or `withdraw` is its amount, the other is null."""

    payment_id: int
    user_id: int
    type: PaymentKind
    status: Literal["processing"]
    amount: Decimal
    deposit: Decimal | None
    withdraw: Decimal | None
    commission: Decimal
    currency: str
    created_at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "payment_id": 1,
        "user_id": 1,
        "type": "deposit",
        "status": "processing",
        "amount": 200.0,
        "deposit": 200.0,
        "withdraw": None,
        "commission": 4.0,
        "currency": "USD",
        "created_at": "2026-11-23T09:30:00.000000Z",
    }


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment and its status. `attempts` counts gateway calls; `transaction_status` says `processing` for `new`."""

    payment_id: int
    user_id: int
    type: PaymentKind
    amount: Decimal
    commission: Decimal
    currency: str
    status: Status
    attempts: int
    last_error: str | None
    transaction_status: Literal["processing", "success", "failed"]
    next_retry_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp

    EXAMPLE: ClassVar[object] = {
        "payment_id": 1,
        "user_id": 1,
        "type": "deposit",
        "amount": 200.0,
        "commission": 4.0,
        "currency": "USD",
        "status": "success",
        "attempts": 2,
        "last_error": None,
        "transaction_status": "success",
        "next_retry_at": None,
        "created_at": "2026-11-23T09:30:00.000000Z",
        "updated_at": "2026-11-23T09:30:02.000000Z",
    }


class PaymentPage(Struct, frozen=True, kw_only=True):
    """A page of payments, newest first; `next_cursor` is null on the last page."""

    items: list[PaymentView]
    next_cursor: str | None

    EXAMPLE: ClassVar[object] = {"items": [PaymentView.EXAMPLE], "next_cursor": None}


class EventView(Struct, frozen=True, kw_only=True):
    """A recorded event: its position in the log, its stream and version, its time, its cause and its data.

    `by` is the key that sent the command, such as `key:4f1c8a02d7be9635`, or the name that an operator gave without a
    key. `operator` is the name that was given beside a key, and `approved_by` the key that has approved the command;
    both are left out where there is none. Amounts in `data` are in minor units, as recorded.
    """

    partition: int
    position: int
    stream: str
    version: int
    topic: str
    at: Timestamp
    command_id: str
    cause: str
    by: str | None
    operator: str | UnsetType = UNSET
    approved_by: str | UnsetType = UNSET
    data: dict[str, Any]

    EXAMPLE: ClassVar[object] = {
        "partition": 0,
        "position": 2,
        "stream": "payment-1",
        "version": 1,
        "topic": "payment.requested",
        "at": "2026-11-23T09:30:00.000000Z",
        "command_id": "6f9619ff8b86d011b42d00cf4fc964ff",
        "cause": "RequestDeposit",
        "by": None,
        "data": {"payment_id": 1, "account_id": 1, "kind": "deposit", "amount_minor": 20000, "fee_minor": 400},
    }


class EventList(Struct, frozen=True, kw_only=True):
    """A payment's history, oldest first."""

    items: list[EventView]

    EXAMPLE: ClassVar[object] = {"items": [EventView.EXAMPLE]}


def payment_view(row: PaymentRow) -> PaymentView:
    """Make the answer about a payment from its row."""
    return PaymentView(
        payment_id=row.payment_id,
        user_id=row.account_id,
        type=row.kind,
        amount=decimal(row.amount_minor, row.currency),
        commission=decimal(row.fee_minor, row.currency),
        currency=row.currency,
        status=row.status,
        attempts=row.attempts,
        last_error=row.last_error,
        transaction_status="processing" if row.status == "new" else row.status,
        next_retry_at=optional_timestamp(row.next_retry_at),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def payment_page(rows: Sequence[PaymentRow], next_cursor: str | None) -> PaymentPage:
    """Make the answer with a page of payments."""
    return PaymentPage(items=[payment_view(row) for row in rows], next_cursor=next_cursor)


def event_view(position: int, recorded: Recorded[Any], *, partition: int) -> EventView:
    """Show an event of a partition as it was recorded."""
    return EventView(
        partition=partition,
        position=position,
        stream=recorded.originator_id,
        version=recorded.originator_version,
        topic=recorded.data.TOPIC,
        at=timestamp(recorded.at),
        command_id=recorded.command_id,
        cause=recorded.cause,
        by=recorded.by,
        operator=UNSET if recorded.operator is None else recorded.operator,
        approved_by=UNSET if recorded.approved_by is None else recorded.approved_by,
        data=msgspec.to_builtins(recorded.data),
    )


def event_list(history: Sequence[Placed[PaymentEvent]], *, partition: int) -> EventList:
    """Make the answer with a payment's history, oldest first."""
    return EventList(items=[event_view(*placed, partition=partition) for placed in history])


def accepted(acceptance: PaymentAcceptance) -> PaymentAccepted:
    """Make the answer to a payment's request. A replay gets the same answer."""
    moved = decimal(acceptance.amount_minor, acceptance.currency)
    shown = {KINDS[acceptance.kind].answer_field: moved}
    return PaymentAccepted(
        payment_id=acceptance.payment_id,
        user_id=acceptance.account_id,
        type=acceptance.kind,
        status="processing",
        amount=moved,
        deposit=shown.get("deposit"),
        withdraw=shown.get("withdraw"),
        commission=decimal(acceptance.fee_minor, acceptance.currency),
        currency=acceptance.currency,
        created_at=timestamp(acceptance.requested_at),
    )
