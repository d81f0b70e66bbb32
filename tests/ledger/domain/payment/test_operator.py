"""Requeueing and resolving a payment, in each of its states."""

import pytest

from ledger.domain.events import (
    PaymentEvent,
    PaymentFailed,
    PaymentParked,
    PaymentResolved,
    PaymentSucceeded,
    Resolution,
)
from ledger.domain.payment import requeue, resolve
from ledger.errors import NotRequeueable, NotResolvable
from tests.support.ledgers.payment_histories import HISTORIES, attempted, fold, topics


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("new", "new"),
        ("turned away", "processing"),
        ("unknown", "processing"),
        ("in doubt", "in_doubt"),
        ("succeeded", "succeeded"),
        ("succeeded when in doubt", "succeeded"),
        ("refused", "failed"),
        ("failed", "series 2"),
        ("failed by inquiry", "series 2"),
        ("failed and closed", "failed"),
        ("failed when in doubt", "failed"),
        ("requeued", "processing"),
        ("requeued and unknown", "processing"),
        ("requeued and succeeded", "succeeded"),
        ("requeued and failed", "series 3"),
        ("contradicted", "contradicted"),
        ("contradicted and closed", "failed"),
        ("reconciled", "succeeded"),
        ("contradicted under way", "processing"),
        ("contradicted under way, then unknown", "processing"),
        ("contradicted, then failed", "contradicted"),
        ("contradicted, then succeeded", "contradicted"),
        ("closed, then contradicted", "contradicted"),
    ],
)
def test_only_what_failed_at_the_gateway_is_queued_again(history: str, expected: str) -> None:
    """Either a new series starts, or the refusal names the state. Money that may have moved is not requested again."""
    payment = fold(HISTORIES[history])

    try:
        answer = f"series {requeue(payment, why='again', ask_first=True).series}"
    except NotRequeueable as refusal:
        answer = refusal.state

    assert expected == answer


@pytest.mark.parametrize(
    ("history", "success", "failure"),
    [
        ("new", "new", "new"),
        ("turned away", "processing", "processing"),
        ("unknown", "processing", "processing"),
        ("in doubt", "resolved succeeded by resolution", "resolved failed by resolution"),
        ("succeeded", "succeeded", "succeeded"),
        ("succeeded when in doubt", "succeeded", "succeeded"),
        ("refused", "failed", "failed"),
        ("failed", "failed", "resolved"),
        ("failed by inquiry", "failed", "resolved"),
        ("failed and closed", "failed", "failed"),
        ("failed when in doubt", "failed", "failed"),
        ("requeued", "processing", "processing"),
        ("requeued and unknown", "processing", "processing"),
        ("requeued and succeeded", "succeeded", "succeeded"),
        ("requeued and failed", "failed", "resolved"),
        ("contradicted", "resolved succeeded by reconciliation", "resolved"),
        ("contradicted and closed", "failed", "failed"),
        ("reconciled", "succeeded", "succeeded"),
        ("contradicted under way", "processing", "processing"),
        ("contradicted under way, then unknown", "processing", "processing"),
        ("contradicted, then failed", "resolved succeeded by reconciliation", "resolved"),
        ("contradicted, then succeeded", "resolved", "contradicted"),
        ("closed, then contradicted", "resolved succeeded by reconciliation", "resolved"),
    ],
)
def test_only_a_dead_letter_is_resolved(history: str, success: str, failure: str) -> None:
    """Either events follow, or the refusal names the state. A failure that nothing contradicts stays a failure."""
    payment = fold(HISTORIES[history])

    def said(resolution: Resolution) -> str:
        try:
            events = resolve(payment, outcome=resolution, why="the bank told us")
        except NotResolvable as refusal:
            return refusal.state
        settled = "".join(payment.unreconciled) if payment.letter == "contradicted" else ""
        told = PaymentResolved(payment_id=1025, outcome=resolution, why="the bank told us", gateway_key=settled)
        assert events[0] == told
        end = events[-1]
        by = f" by {end.ended_by}" if isinstance(end, PaymentSucceeded | PaymentFailed) else ""
        return topics(events) + by

    assert (success, failure) == (said("success"), said("failed"))


def test_a_refused_operator_is_told_the_payment_and_its_state() -> None:
    """The state of the dead letter, or of the payment if it has none."""
    payment = fold(HISTORIES["contradicted"])

    with pytest.raises(NotRequeueable) as not_requeueable:
        requeue(payment, why="again", ask_first=True)
    with pytest.raises(NotResolvable) as not_resolvable:
        resolve(fold(HISTORIES["failed"]), outcome="success", why="no")

    assert not_requeueable.value.facts == {"payment_id": 1025, "state": "contradicted"}
    assert not_resolvable.value.facts == {"payment_id": 1025, "state": "failed"}


def test_a_payment_resolved_as_failed_says_so() -> None:
    """Its reason is the operator's decision, not the gateway's last error."""
    _, end = resolve(fold(HISTORIES["in doubt"]), outcome="failed", why="the bank told us")

    assert isinstance(end, PaymentFailed)
    assert (end.reason, end.ended_by, end.series) == ("resolved_as_failed", "resolution", 1)


def test_a_payment_resolved_as_succeeded_has_no_reference_of_the_gateway() -> None:
    """The success is known from the operator only."""
    _, end = resolve(fold(HISTORIES["in doubt"]), outcome="success", why="the bank told us")

    assert isinstance(end, PaymentSucceeded)
    assert (end.reference, end.ended_by) == (None, "resolution")


def test_failing_a_series_in_doubt_does_not_close_the_contradiction_of_the_one_before() -> None:
    """The gateway reported that series 1 moved the money, and an operator has not settled that yet."""
    in_doubt: list[PaymentEvent] = [
        *HISTORIES["contradicted under way"],
        attempted("unknown", series=2, error="timeout"),
        PaymentParked(payment_id=1025, series=2, reason="pending"),
    ]

    payment = fold([*in_doubt, *resolve(fold(in_doubt), outcome="failed", why="series 2 never arrived")])

    assert (payment.state, payment.letter) == ("failed", "contradicted")
