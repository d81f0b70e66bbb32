"""Counters: they count what their names say."""

from tests.projections.models.tables import tables_of
from tests.support.histories import FAILED, PARKED, History, fold_payments, go


def test_counters_count_what_their_names_say() -> None:
    """A deposit that fails and is requeued; a withdrawal with a late answer; one without money; one in doubt."""
    history = History()
    account_id = history.open()
    first, second, third = (
        history.deposit(account_id),
        history.withdraw(account_id),
        history.withdraw(account_id, "9999"),
    )
    in_doubt = history.deposit(account_id)
    go(history, first, [*FAILED, ("requeue",), ("attempt", "approved", "succeed")])
    go(history, second, [("attempt", "unknown", "retry", "timeout"), ("attempt", "turned_away", "retry", "refused")])
    go(history, second, [("attempt", "unknown", "retry", "gateway_error_502"), ("late", 1, 1)])
    go(history, in_doubt, [*PARKED, ("resolve", "failed")])

    tables = tables_of(history.events)
    counted = tables.counted

    assert third == max(fold_payments(history.events)) - 1024
    assert dict(counted) == {
        "payments_deposit_requests_total": 2,
        "payments_withdraw_requests_total": 2,
        "payments_task_enqueued_total": 4,
        "payments_processing_started_total": 6,
        "payments_success_total": 2,
        "payments_failed_total": 3,
        "payments_retried_total": 3,
        "gateway_success_total": 1,
        "gateway_timeouts_total": 2,
        "gateway_errors_total": 2,
        "gateway_non_retryable_errors_total": 1,
        "dlq_written_total": 2,
    }
    assert dict(tables.ends) == {
        ("deposit", "USD", "failed"): 2,
        ("deposit", "USD", "succeeded"): 1,
        ("withdraw", "USD", "failed"): 1,
        ("withdraw", "USD", "succeeded"): 1,
    }
