"""Histories of one payment, each of which leads to one of its states, and short forms of the events that follow.

`HISTORIES` holds events only. The tables of `tests/ledger/domain/payment` name a history, a report or a decision, and
the expected events or refusal.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ledger.domain.commands import Fail, InquireAfter, RecordGatewayOutcome, RecordInquiry, RetryAfter
from ledger.domain.events import (
    EndedBy,
    GatewayAttempted,
    OutcomeName,
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
    Resolution,
)
from ledger.domain.evolve import evolve_payment
from ledger.domain.identifiers import gateway_key
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import Payment, record_inquiry, record_outcome
from ledger.errors import OutcomeImpossible

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def requested(kind: PaymentKind = "withdraw") -> PaymentRequested:
    """A payment of 200.00 at 2 %."""
    return PaymentRequested(
        payment_id=1025,
        account_id=1,
        kind=kind,
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
    )


def attempted(told: OutcomeName, *, series: int = 1, attempt: int = 1, error: str | None = None) -> GatewayAttempted:
    """A call of the gateway."""
    return GatewayAttempted(
        payment_id=1025,
        series=series,
        attempt=attempt,
        gateway_key=gateway_key(1025, series),
        outcome=told,
        error=error,
    )


def ended(event_class: Callable[..., PaymentEvent], ended_by: EndedBy, *, series: int = 1, **facts: Any) -> Any:
    """An end of the payment."""
    amounts = {"amount_minor": 20_000, "fee_minor": 400, "currency": "USD"}
    return event_class(
        payment_id=1025, account_id=1, kind="withdraw", series=series, ended_by=ended_by, **amounts, **facts
    )


def failed(ended_by: EndedBy, *, series: int = 1, reason: str = "gateway_error_400") -> PaymentEvent:
    """A failure."""
    event: PaymentEvent = ended(PaymentFailed, ended_by, series=series, reason=reason)
    return event


def succeeded(ended_by: EndedBy, *, series: int = 1) -> PaymentEvent:
    """A success."""
    event: PaymentEvent = ended(PaymentSucceeded, ended_by, series=series)
    return event


INQUIRED = PaymentInquired(payment_id=1025, series=1, gateway_key="payment-1025", answer="no_clear_answer")
PARKED = PaymentParked(payment_id=1025, series=1, reason="pending")
REQUEUED = PaymentRequeued(
    payment_id=1025,
    account_id=1,
    kind="withdraw",
    amount_minor=20_000,
    fee_minor=400,
    currency="USD",
    series=2,
    gateway_key="payment-1025-2",
    why="they say it works now",
)
REQUEUED_UNDER_THE_SAME_KEY = msgspec.structs.replace(REQUEUED, gateway_key="payment-1025")
CONTRADICTED = PaymentContradicted(payment_id=1025, series=1, gateway_key="payment-1025")
CONTRADICTED_AGAIN = PaymentContradicted(payment_id=1025, series=2, gateway_key="payment-1025-2")


def resolved(resolution: Resolution) -> PaymentResolved:
    """An operator's decision."""
    return PaymentResolved(payment_id=1025, outcome=resolution, why="the bank told us")


DECLINED: list[PaymentEvent] = [attempted("declined", error="gateway_error_400"), failed("gateway")]
DOUBTED: list[PaymentEvent] = [attempted("unknown", error="timeout"), INQUIRED, PARKED]
DECLINED_AGAIN: list[PaymentEvent] = [
    attempted("declined", series=2, error="gateway_error_402"),
    failed("gateway", series=2),
]

FAILED_UNASKED: list[PaymentEvent] = [attempted("unknown", error="timeout"), failed("gateway", reason="timeout")]
CONTRADICTED_TWICE: list[PaymentEvent] = [*DECLINED, REQUEUED, *DECLINED_AGAIN, CONTRADICTED, CONTRADICTED_AGAIN]
DOUBTED_AGAIN: list[PaymentEvent] = [
    attempted("unknown", series=2, error="timeout"),
    PaymentParked(payment_id=1025, series=2, reason="pending"),
]

HISTORIES: dict[str, list[PaymentEvent]] = {
    "new": [],
    "turned away": [attempted("turned_away", error="gateway_error_429")],
    "unknown": [attempted("unknown", error="timeout")],
    "unknown, then turned away": [
        attempted("unknown", error="timeout"),
        attempted("turned_away", attempt=2, error="connect_error"),
    ],
    "in doubt": [*DOUBTED],
    "succeeded": [attempted("approved"), succeeded("gateway")],
    "succeeded when in doubt": [*DOUBTED, resolved("success"), succeeded("resolution")],
    "refused": [failed("request", reason="insufficient_funds")],
    "failed": [*DECLINED],
    "failed by inquiry": [attempted("unknown", error="timeout"), INQUIRED, failed("inquiry")],
    "failed and closed": [*DECLINED, resolved("failed")],
    "failed when in doubt": [*DOUBTED, resolved("failed"), failed("resolution", reason="resolved_as_failed")],
    "requeued": [*DECLINED, REQUEUED],
    "requeued and unknown": [*DECLINED, REQUEUED, attempted("unknown", series=2, error="timeout")],
    "requeued and succeeded": [*DECLINED, REQUEUED, attempted("approved", series=2), succeeded("gateway", series=2)],
    "requeued and failed": [*DECLINED, REQUEUED, *DECLINED_AGAIN],
    "contradicted": [*DECLINED, CONTRADICTED],
    "contradicted and closed": [*DECLINED, CONTRADICTED, resolved("failed")],
    "reconciled": [*DECLINED, CONTRADICTED, resolved("success"), succeeded("reconciliation")],
    "contradicted under way": [*DECLINED, REQUEUED, CONTRADICTED],
    "contradicted under way, then unknown": [
        *DECLINED,
        REQUEUED,
        CONTRADICTED,
        attempted("unknown", series=2, error="timeout"),
    ],
    "contradicted, then failed": [*DECLINED, REQUEUED, CONTRADICTED, *DECLINED_AGAIN],
    "contradicted, then succeeded": [
        *DECLINED,
        REQUEUED,
        CONTRADICTED,
        attempted("approved", series=2),
        succeeded("gateway", series=2),
    ],
    "closed, then contradicted": [*DECLINED, resolved("failed"), CONTRADICTED],
    "refused, then contradicted": [failed("request", reason="insufficient_funds"), CONTRADICTED],
    "contradicted when in doubt": [*DECLINED, REQUEUED, CONTRADICTED, *DOUBTED_AGAIN],
    "contradicted, then failed when in doubt": [
        *DECLINED,
        REQUEUED,
        CONTRADICTED,
        *DOUBTED_AGAIN,
        resolved("failed"),
        failed("resolution", series=2, reason="resolved_as_failed"),
    ],
    "contradicted twice": [*CONTRADICTED_TWICE],
    "contradicted twice and closed": [*CONTRADICTED_TWICE, resolved("failed")],
    "contradicted twice, reconciled once": [
        *CONTRADICTED_TWICE,
        resolved("success"),
        succeeded("reconciliation", series=2),
    ],
    "contradicted twice and reconciled": [
        *CONTRADICTED_TWICE,
        resolved("success"),
        succeeded("reconciliation", series=2),
        resolved("success"),
    ],
    "reconciled, then contradicted": [
        *DECLINED,
        REQUEUED,
        *DECLINED_AGAIN,
        CONTRADICTED,
        resolved("success"),
        succeeded("reconciliation", series=2),
        CONTRADICTED_AGAIN,
    ],
    "failed unasked": [*FAILED_UNASKED],
    "failed unasked and requeued": [*FAILED_UNASKED, REQUEUED_UNDER_THE_SAME_KEY],
    "declined, requeued under the same key": [*DECLINED, REQUEUED_UNDER_THE_SAME_KEY],
}
OPEN = {
    "new": False,
    "turned away": False,
    "requeued": False,
    "contradicted under way": False,
    "unknown": True,
    "unknown, then turned away": True,
    "in doubt": True,
    "requeued and unknown": True,
    "contradicted under way, then unknown": True,
    "contradicted when in doubt": True,
    "failed unasked and requeued": True,
    "declined, requeued under the same key": False,
}
"""The histories without an end, and whether an attempt under their gateway key may have moved the money."""

PARKED_ONES = ("in doubt", "contradicted when in doubt")


def fold(events: Sequence[PaymentEvent], *, kind: PaymentKind = "withdraw") -> Payment:
    """The payment as its request and these events leave it."""
    payment = None
    for version, event in enumerate([requested(kind), *events], start=1):
        payment = evolve_payment(
            payment,
            Recorded(
                originator_id="payment-1025",
                originator_version=version,
                at=AT + timedelta(seconds=version),
                command_id="c",
                cause="test",
                data=event,
            ),
        )
    assert payment is not None
    return payment


def topics(events: Sequence[PaymentEvent]) -> str:
    """Events in short: `gateway_attempted succeeded`."""
    return " ".join(event.TOPIC.removeprefix("payment.") for event in events)


def reported(payment: Payment, report: RecordGatewayOutcome | RecordInquiry) -> str:
    """The topics of the events that a report adds, or `impossible`."""
    try:
        if isinstance(report, RecordInquiry):
            return topics(record_inquiry(payment, report, at=AT))
        return topics(record_outcome(payment, report, at=AT))
    except OutcomeImpossible:
        return "impossible"


RETRY, INQUIRE, UNASKED = RetryAfter(1.5), InquireAfter(5.0), Fail(unasked=True)
