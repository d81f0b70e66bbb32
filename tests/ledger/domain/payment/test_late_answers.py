"""Late, repeated and contradicting answers of the gateway."""

import pytest

from ledger.domain.commands import Fail, FollowUp, Succeed
from ledger.domain.events import GatewayAttempted, OutcomeName, PaymentContradicted, PaymentSucceeded
from ledger.domain.payment import record_inquiry, record_outcome
from ledger.errors import StaleCommand
from tests.support.ledgers.paper import inquiry, outcome
from tests.support.ledgers.payment_histories import AT, HISTORIES, RETRY, fold, reported, resolved, succeeded

LATE = "gateway_attempted succeeded"
LATE_ANSWERS: list[tuple[str, int, int, OutcomeName, str]] = [
    # history, series and attempt of the answer, the gateway's outcome, the expected events
    *(
        (history, 1, 1, told, "")
        for history in HISTORIES
        if HISTORIES[history]
        for told in ("declined", "turned_away", "unknown")
    ),
    ("turned away", 1, 1, "approved", LATE),
    ("unknown", 1, 1, "approved", LATE),
    ("unknown, then turned away", 1, 1, "approved", LATE),
    ("unknown, then turned away", 1, 2, "approved", LATE),
    ("in doubt", 1, 1, "approved", LATE),
    ("succeeded", 1, 1, "approved", ""),
    ("succeeded", 1, 2, "approved", ""),
    ("succeeded when in doubt", 1, 1, "approved", ""),
    ("failed", 1, 1, "approved", "contradicted"),
    ("failed", 1, 2, "approved", "contradicted"),
    ("failed", 1, 2, "declined", ""),
    ("failed by inquiry", 1, 1, "approved", "contradicted"),
    ("failed and closed", 1, 1, "approved", "contradicted"),
    ("failed when in doubt", 1, 1, "approved", "contradicted"),
    ("requeued", 1, 1, "approved", "contradicted"),
    ("requeued", 1, 9, "approved", "contradicted"),
    ("requeued and unknown", 1, 1, "approved", "contradicted"),
    ("requeued and unknown", 2, 1, "approved", LATE),
    ("requeued and unknown", 2, 1, "unknown", ""),
    ("requeued and succeeded", 1, 1, "approved", "contradicted"),
    ("requeued and succeeded", 2, 1, "approved", ""),
    ("requeued and failed", 1, 1, "approved", "contradicted"),
    ("requeued and failed", 2, 1, "approved", "contradicted"),
    ("contradicted", 1, 1, "approved", ""),
    ("contradicted and closed", 1, 1, "approved", ""),
    ("reconciled", 1, 1, "approved", ""),
    ("contradicted under way", 1, 1, "approved", ""),
    ("contradicted under way, then unknown", 1, 1, "approved", ""),
    ("contradicted under way, then unknown", 2, 1, "approved", LATE),
    ("contradicted, then failed", 1, 1, "approved", ""),
    ("contradicted, then succeeded", 1, 1, "approved", ""),
    ("contradicted, then succeeded", 2, 1, "approved", ""),
    ("closed, then contradicted", 1, 1, "approved", ""),
    ("contradicted, then failed", 2, 1, "approved", "contradicted"),
    ("contradicted when in doubt", 1, 1, "approved", ""),
    ("contradicted when in doubt", 2, 1, "approved", LATE),
    ("contradicted, then failed when in doubt", 2, 1, "approved", "contradicted"),
    ("contradicted twice", 2, 1, "approved", ""),
    ("contradicted twice and reconciled", 1, 1, "approved", ""),
    ("failed unasked", 1, 1, "approved", "contradicted"),
    ("failed unasked and requeued", 1, 1, "approved", LATE),
    ("declined, requeued under the same key", 1, 1, "approved", LATE),
]


@pytest.mark.parametrize(("history", "series", "attempt", "told", "expected"), LATE_ANSWERS)
@pytest.mark.parametrize("then", [Succeed(), Fail(), RETRY])
def test_a_late_answer_counts_only_when_it_tells_of_moved_money(
    history: str, series: int, attempt: int, told: OutcomeName, expected: str, then: FollowUp
) -> None:
    """It ends an open payment, and contradicts a failed one, once. Its follow-up is ignored."""
    payment = fold(HISTORIES[history])

    assert expected == reported(payment, outcome(payment, told, then, series=series, attempt=attempt))


def test_a_late_success_is_recorded_as_late_and_ends_the_payment() -> None:
    """The event has the number of its own attempt."""
    payment = fold(HISTORIES["unknown, then turned away"])

    late, end = record_outcome(payment, outcome(payment, "approved", Succeed(), attempt=1, reference="r"), at=AT)

    assert isinstance(late, GatewayAttempted)
    assert (late.attempt, late.late, late.retry_at) == (1, True, None)
    assert isinstance(end, PaymentSucceeded)
    assert (end.ended_by, end.reference) == ("gateway", "r")


def test_a_contradiction_tells_which_series_and_what_the_gateway_said() -> None:
    """The event names the failed series, not the one under way."""
    payment = fold(HISTORIES["requeued"])
    facts = {"http_status": 200, "reference": "r-7", "answer_digest": "cd" * 32, "gateway_key": "payment-1025"}

    events = record_outcome(payment, outcome(payment, "approved", Succeed(), series=1, attempt=1, **facts), at=AT)

    assert events == [
        PaymentContradicted(
            payment_id=1025,
            series=1,
            gateway_key="payment-1025",
            http_status=200,
            reference="r-7",
            answer_digest="cd" * 32,
        )
    ]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("behind", [1, -1, 100])
def test_a_report_by_somebody_who_saw_another_version_is_stale(history: str, behind: int) -> None:
    """For every report, the sender reads the payment again."""
    payment = fold(HISTORIES[history])
    seen = payment.version - behind
    facts = {"payment_id": 1025, "seen_version": seen, "version": payment.version}

    with pytest.raises(StaleCommand) as call:
        record_outcome(payment, outcome(payment, "approved", Succeed(), seen_version=seen), at=AT)
    with pytest.raises(StaleCommand) as inquired:
        record_inquiry(payment, inquiry(payment, "approved", Succeed(), seen_version=seen), at=AT)

    assert facts == call.value.facts == inquired.value.facts


def test_money_moved_by_a_second_series_after_reconciling_the_first_is_no_silent_loss() -> None:
    """Series 1 was reconciled as success. Then the gateway reports that series 2 moved the money as well."""
    reconciled = [resolved("success"), succeeded("reconciliation", series=2)]
    payment = fold([*HISTORIES["contradicted, then failed"], *reconciled])

    assert reported(payment, outcome(payment, "approved", Succeed(), series=2, attempt=1)) == "contradicted"
