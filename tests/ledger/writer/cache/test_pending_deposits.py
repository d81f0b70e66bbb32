"""The sum of the deposits that are pending for each cached account."""

from typing import Any

import pytest

from ledger.domain.commands import AnyCommand, Fail, RetryAfter, Succeed
from ledger.domain.events import (
    EVENT_BY_TOPIC,
    PaymentEnded,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.domain.evolve import PENDING_TOPICS, pending_change
from tests.support.ledgers.paper import PaperWriter, deposit, inquiry, outcome, resolve, withdrawal
from tests.support.ledgers.paper_payments import INQUIRE


def test_the_pending_sum_is_exact_through_a_payments_whole_life(ledger: PaperWriter) -> None:
    """A deposit counts from its request or requeue to its end, and not when it is reconciled."""

    def pending() -> int:
        ledger.begin()
        assert ledger.cache.pending_minor["account-1"] == ledger.store.pending_minor(1)
        return ledger.cache.pending_minor["account-1"]

    seen = [pending()]
    ledger.one(deposit("2.00"))
    seen.append(pending())
    ledger.told(1, "turned_away", RetryAfter(1))
    seen.append(pending())
    ledger.told(1, "declined", Fail())
    seen.append(pending())
    ledger.requeued(1, ask_first=False)
    seen.append(pending())
    ledger.told(1, "unknown", INQUIRE)
    ledger.inquired(1, "no_clear_answer", INQUIRE)
    seen.append(pending())
    ledger.resolved(1, "failed")
    seen.append(pending())
    ledger.told(1, "approved", Succeed(), series=1, attempt=1)
    seen.append(pending())
    ledger.resolved(1, "success")
    seen.append(pending())

    assert seen == [0, 196, 196, 0, 196, 196, 0, 0, 0]
    assert ledger.account().posted_minor == 1196


@pytest.mark.parametrize("together", [True, False])
def test_deposits_settled_by_inquiry_resolution_or_a_call_are_not_pending_any_more(
    ledger: PaperWriter,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """An end from any source counts, also when one batch has several."""
    ledger.write(deposit("1.00"), deposit("2.00"), deposit("4.00"), withdrawal("1.00"))
    for payment_id in (1, 1025):
        ledger.told(payment_id, "unknown", INQUIRE)
    ledger.inquired(1025, "no_clear_answer", INQUIRE)
    assert ledger.cache.pending_minor == {"account-1": 98 + 196 + 392}
    ends: list[AnyCommand] = [
        inquiry(ledger.payment(1), "approved", Succeed()),
        resolve(1025, "success"),
        outcome(ledger.payment(2049), "approved", Succeed()),
    ]

    for batch in [ends] if together else [[end] for end in ends]:
        ledger.write(*batch)

    assert ledger.cache.pending_minor == {"account-1": 0}
    assert ledger.account().posted_minor == 1000 + 98 + 196 + 392


def test_a_withdrawal_is_never_pending(ledger: PaperWriter) -> None:
    """It takes money out of the account."""
    ledger.write(withdrawal("1.00"), withdrawal("99.00"))
    ledger.told(1, "declined", Fail())
    ledger.requeued(1, ask_first=False)
    ledger.told(1, "approved", Succeed())

    assert ledger.cache.pending_minor == {"account-1": 0}


def ended(event_class: type[PaymentEnded], **facts: Any) -> PaymentEnded:
    """An end of a deposit of 200.00 with a fee of 4.00."""
    amounts = {"amount_minor": 20_000, "fee_minor": 400, "currency": "USD", "series": 1}
    return event_class(**{"payment_id": 9, "account_id": 7, "kind": "deposit", **amounts, **facts})


def requeued(kind: Any) -> PaymentRequeued:
    """A payment of 200.00 with a fee of 4.00, queued again."""
    amounts = {"amount_minor": 20_000, "fee_minor": 400, "currency": "USD", "series": 2}
    return PaymentRequeued(payment_id=9, account_id=7, kind=kind, gateway_key="k", why="w", **amounts)  # type: ignore[arg-type]


def requested(kind: Any) -> PaymentRequested:
    """A payment of 200.00 with a fee of 4.00."""
    return PaymentRequested(
        payment_id=9,
        account_id=7,
        kind=kind,
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
    )


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (requested("deposit"), (7, 19_600)),
        (requested("withdraw"), (0, 0)),
        (requeued("deposit"), (7, 19_600)),
        (requeued("withdraw"), (0, 0)),
        (ended(PaymentSucceeded, ended_by="gateway"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="inquiry"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="resolution"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="reconciliation"), (0, 0)),
        (ended(PaymentFailed, ended_by="gateway", reason="x"), (7, -19_600)),
        (ended(PaymentFailed, ended_by="inquiry", reason="x"), (7, -19_600)),
        (ended(PaymentFailed, ended_by="resolution", reason="x"), (7, -19_600)),
        (ended(PaymentSucceeded, ended_by="gateway", kind="withdraw"), (0, 0)),
        (ended(PaymentFailed, ended_by="request", kind="withdraw", reason="insufficient_funds"), (0, 0)),
        (PaymentParked(payment_id=9, series=1, reason="x"), (0, 0)),
    ],
)
def test_an_event_changes_the_pending_sum(event: Any, change: tuple[int, int]) -> None:
    """The account and the change. A reconciled deposit had failed, so it did not count any more."""
    assert change == pending_change(event)
    assert change == (0, 0) or event.TOPIC in PENDING_TOPICS


def test_pending_topics_are_those_that_can_change_the_pending_sum() -> None:
    """With one missing here, an account could exceed its balance limit."""
    changing = (PaymentRequested, PaymentRequeued, PaymentEnded)

    assert {topic for topic, cls in EVENT_BY_TOPIC.items() if issubclass(cls, changing)} == PENDING_TOPICS
