"""The read model of counters: how often what has happened, from the beginning of the log.

    payments_deposit_requests_total        deposits requested
    payments_withdraw_requests_total       withdrawals requested, those refused for want of money too
    payments_task_enqueued_total           payments given to the gateway's queue: accepted ones, and each requeue
    payments_processing_started_total      attempts, lost ones too; an answer that came late is no further attempt
    payments_success_total                 payments that succeeded, by whatever way
    payments_failed_total                  failures, refusals at the request too; each one where it is requeued between
    payments_retried_total                 attempts after which another one was scheduled
    gateway_success_total                  attempts that the gateway approved
    gateway_timeouts_total                 attempts that had no answer in time
    gateway_errors_total                   attempts turned away, lost, or answered with what says nothing sure
    gateway_non_retryable_errors_total     attempts that the gateway declined
    dlq_written_total                      failures, parkings and contradictions that an operator has to look at

Every attempt counts in exactly one of the four of the gateway. None ever goes down.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import psycopg

from ledger.events import (
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    PaymentContradicted,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.sql import load_statements
from projections.page import Placed
from projections.tables import aimed

SQL: Final = load_statements("projections", "counters.sql")

NAMES: Final = (
    "payments_deposit_requests_total",
    "payments_withdraw_requests_total",
    "payments_task_enqueued_total",
    "payments_processing_started_total",
    "payments_success_total",
    "payments_failed_total",
    "payments_retried_total",
    "gateway_success_total",
    "gateway_timeouts_total",
    "gateway_errors_total",
    "gateway_non_retryable_errors_total",
    "dlq_written_total",
)
"""Every counter. One that has not counted yet has no row, and is 0."""


def fold(events: Iterable[Placed]) -> Counter[str]:
    """Count a page's events."""
    counted: Counter[str] = Counter()
    for _, recorded in events:
        counted.update(_counted(recorded.data))
    return counted


def _counted(event: AnyEvent) -> Iterator[str]:
    match event:
        case PaymentRequested(kind="deposit"):
            yield "payments_deposit_requests_total"
            yield "payments_task_enqueued_total"
        case PaymentRequested():
            yield "payments_withdraw_requests_total"
        case FundsHeld() | PaymentRequeued(kind="deposit"):
            # A withdrawal is accepted, or queued again, when its money is set aside.
            yield "payments_task_enqueued_total"
        case GatewayAttempted(late=False):
            yield "payments_processing_started_total"
            yield _answered(event)
            if event.retry_at is not None:
                yield "payments_retried_total"
        case PaymentSucceeded():
            yield "payments_success_total"
        case PaymentFailed():
            yield "payments_failed_total"
            if event.ended_by not in {"request", "resolution"}:
                yield "dlq_written_total"
        case PaymentParked() | PaymentContradicted():
            yield "dlq_written_total"
        case _:
            pass


def _answered(event: GatewayAttempted) -> str:
    match event.outcome:
        case "approved":
            return "gateway_success_total"
        case "declined":
            return "gateway_non_retryable_errors_total"
        case "unknown" if event.error == "timeout":
            return "gateway_timeouts_total"
        case "unknown" | "turned_away":
            return "gateway_errors_total"


def store(connection: psycopg.Connection[Any], counted: Mapping[str, int], suffix: str) -> None:
    """Send what was counted to be added."""
    if counted:
        parameters = {"name": sorted(counted), "value": [counted[name] for name in sorted(counted)]}
        connection.execute(aimed(SQL["add_to_counters"], suffix), parameters, prepare=True)
