"""The read model of counters: the number of events of each kind since the beginning of the log.

    payments_deposit_requests_total        deposits requested
    payments_withdraw_requests_total       withdrawals requested, refused ones too
    payments_task_enqueued_total           payments given to the gateway's queue: accepted ones, and each requeue
    payments_processing_started_total      attempts, lost ones too; a late answer does not count as another one
    payments_success_total                 payments that succeeded, by whatever way
    payments_failed_total                  failures, refusals at the request too; each one where it is requeued between
    payments_retried_total                 attempts after which another one was scheduled
    gateway_success_total                  attempts that the gateway approved
    gateway_timeouts_total                 attempts that had no answer in time
    gateway_errors_total                   attempts not accepted, lost, or answered unclearly
    gateway_non_retryable_errors_total     attempts that the gateway declined
    dlq_written_total                      failures, parkings and contradictions that an operator has to look at

Every attempt counts in exactly one of the four of the gateway. None ever goes down.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, assert_never

from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    GatewayChanged,
    HoldReleased,
    LedgerRecovered,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
)
from ledger.domain.kinds import KINDS
from ledger.store.array_parameters import Bigints, Words
from ledger.store.statements import load_statements
from projections.contract.log_page import Connection, Placed
from projections.contract.read_model import ReadModel, Table
from projections.contract.table_names import aimed

SQL: Final = load_statements("projections.models", "counters.sql")

NAMES: Final = (
    *(f"payments_{kind}_requests_total" for kind in KINDS),
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

_NAMES: Final = frozenset(NAMES)


def fold(events: Iterable[Placed]) -> Counter[str]:
    """Count a page's events."""
    return Counter(name for _, recorded in events for name in _counted(recorded.data))


def _counted(event: AnyEvent) -> Iterator[str]:
    match event:
        case PaymentRequested():
            yield f"payments_{event.kind}_requests_total"
            yield from _accepted(event)
        case FundsHeld():
            # A payment whose kind holds money is accepted, or queued again, when its money is set aside.
            yield "payments_task_enqueued_total"
        case PaymentRequeued():
            yield from _accepted(event)
        case GatewayAttempted(late=False):
            yield from _attempted(event)
        case PaymentSucceeded():
            yield "payments_success_total"
        case PaymentFailed():
            yield "payments_failed_total"
            if event.ended_by not in {"request", "resolution"}:
                yield "dlq_written_total"
        case PaymentParked() | PaymentContradicted():
            yield "dlq_written_total"
        case (
            GatewayAttempted()
            | PaymentInquired()
            | PaymentResolved()
            | PaymentAdjusted()
            | AccountAdjusted()
            | AccountOpened()
            | HoldReleased()
            | AccountCredited()
            | AccountDebited()
            | LedgerRecovered()
            | GatewayChanged()
        ):
            pass
        case never:
            assert_never(never)


def _accepted(event: PaymentRequested | PaymentRequeued) -> Iterator[str]:
    if not KINDS[event.kind].holds:
        yield "payments_task_enqueued_total"


def _attempted(event: GatewayAttempted) -> Iterator[str]:
    yield "payments_processing_started_total"
    yield _answered(event)
    if event.retry_at is not None:
        yield "payments_retried_total"


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


def store(connection: Connection, counted: Mapping[str, int], suffix: str) -> None:
    """Send the counts, to be added to the counters."""
    assert counted.keys() <= _NAMES, counted
    if counted:
        names = sorted(counted)
        parameters = {"name": Words(names), "value": Bigints([counted[name] for name in names])}
        connection.execute(aimed(SQL["add_to_counters"], suffix), parameters, prepare=True)


MODEL: Final = ReadModel(
    name="counters",
    tables=(Table(name="counters", key=("name",), columns=("name", "value")),),
    fold=fold,
    store=store,
)
