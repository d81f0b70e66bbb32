"""One payment: what every report and every word of an operator does in every state, as tables.

`HISTORIES` brings a payment into each state that it can be in, by events alone. The tables name a history, what comes
in, and as their last column the expected answer: the topics of the events that follow, or the refusal.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ledger.commands import (
    Fail,
    FollowUp,
    InquireAfter,
    RecordGatewayOutcome,
    RecordInquiry,
    RetryAfter,
    Succeed,
)
from ledger.errors import NotRequeueable, NotResolvable, OutcomeImpossible, StaleCommand
from ledger.events import (
    EndedBy,
    GatewayAttempted,
    InquiryName,
    OutcomeName,
    PaymentContradicted,
    PaymentEvent,
    PaymentFailed,
    PaymentInquired,
    PaymentKind,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
    Resolution,
)
from ledger.identifiers import gateway_key
from ledger.payment import (
    LetterState,
    Payment,
    PaymentState,
    evolve,
    record_inquiry,
    record_outcome,
    requeue,
    resolve,
    state_after,
)
from tests.ledger.paper_ledger import inquiry, outcome

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

# --- what happened before ---


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
    """An operator's word."""
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
        payment = evolve(
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
    """What a report does: topics of the events, or `impossible`."""
    try:
        if isinstance(report, RecordInquiry):
            return topics(record_inquiry(payment, report))
        return topics(record_outcome(payment, report, at=AT))
    except OutcomeImpossible:
        return "impossible"


# --- evolving --------------------------------------------------------------------------------------------------------


def test_a_request_makes_a_new_payment() -> None:
    """With all its facts; a withdrawal's money is set aside from then on, a deposit has none to set aside."""
    payment = fold([], kind="deposit")

    assert payment == Payment(
        payment_id=1025,
        version=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        requested_at=AT + timedelta(seconds=1),
        gateway_key="payment-1025",
    )
    assert payment.id == "payment-1025"
    assert not payment.held
    assert fold([], kind="withdraw").held


def test_a_deposit_credits_less_its_fee_and_a_withdrawal_takes_it_on_top() -> None:
    """A deposit of 200.00 at 2 % credits 196.00; a withdrawal of 200.00 debits 204.00."""
    payment = fold([])

    assert payment.net_minor == 19_600
    assert payment.total_minor == 20_400


@pytest.mark.parametrize(
    ("history", "state", "series", "attempt", "unknown", "last_error", "ended_by", "letter"),
    [
        ("new", "new", 1, 0, False, None, None, None),
        ("turned away", "processing", 1, 1, False, "gateway_error_429", None, None),
        ("unknown", "processing", 1, 1, True, "timeout", None, None),
        ("unknown, then turned away", "processing", 1, 2, True, "connect_error", None, None),
        ("in doubt", "in_doubt", 1, 1, True, "timeout", None, "in_doubt"),
        ("succeeded", "succeeded", 1, 1, False, None, "gateway", None),
        ("succeeded when in doubt", "succeeded", 1, 1, True, "timeout", "resolution", None),
        ("refused", "failed", 1, 0, False, None, "request", None),
        ("failed", "failed", 1, 1, False, "gateway_error_400", "gateway", "failed"),
        ("failed by inquiry", "failed", 1, 1, True, "timeout", "inquiry", "failed"),
        ("failed and closed", "failed", 1, 1, False, "gateway_error_400", "gateway", None),
        ("failed when in doubt", "failed", 1, 1, True, "timeout", "resolution", None),
        ("requeued", "processing", 2, 0, False, "gateway_error_400", None, None),
        ("requeued and unknown", "processing", 2, 1, True, "timeout", None, None),
        ("requeued and succeeded", "succeeded", 2, 1, False, None, "gateway", None),
        ("requeued and failed", "failed", 2, 1, False, "gateway_error_402", "gateway", "failed"),
        ("contradicted", "failed", 1, 1, False, "gateway_error_400", "gateway", "reconcile"),
        ("contradicted and closed", "failed", 1, 1, False, "gateway_error_400", "gateway", None),
        ("reconciled", "succeeded", 1, 1, False, "gateway_error_400", "reconciliation", None),
        ("contradicted under way", "processing", 2, 0, False, "gateway_error_400", None, None),
        ("contradicted under way, then unknown", "processing", 2, 1, True, "timeout", None, None),
        ("contradicted, then failed", "failed", 2, 1, False, "gateway_error_402", "gateway", "reconcile"),
        ("contradicted, then succeeded", "succeeded", 2, 1, False, None, "gateway", "reconcile"),
        ("closed, then contradicted", "failed", 1, 1, False, "gateway_error_400", "gateway", "reconcile"),
        ("refused, then contradicted", "failed", 1, 0, False, None, "request", "reconcile"),
        ("contradicted when in doubt", "in_doubt", 2, 1, True, "timeout", None, "in_doubt"),
        ("contradicted, then failed when in doubt", "failed", 2, 1, True, "timeout", "resolution", "reconcile"),
        ("contradicted twice", "failed", 2, 1, False, "gateway_error_402", "gateway", "reconcile"),
        ("contradicted twice and closed", "failed", 2, 1, False, "gateway_error_402", "gateway", None),
        (
            "contradicted twice, reconciled once",
            "succeeded",
            2,
            1,
            False,
            "gateway_error_402",
            "reconciliation",
            "reconcile",
        ),
        ("contradicted twice and reconciled", "succeeded", 2, 1, False, "gateway_error_402", "reconciliation", None),
        ("reconciled, then contradicted", "succeeded", 2, 1, False, "gateway_error_402", "reconciliation", "reconcile"),
        ("failed unasked", "failed", 1, 1, True, "timeout", "gateway", "failed"),
        ("failed unasked and requeued", "processing", 2, 0, True, "timeout", None, None),
        ("declined, requeued under the same key", "processing", 2, 0, False, "gateway_error_400", None, None),
    ],
)
def test_events_leave_a_payment_in_its_state(
    history: str,
    state: PaymentState,
    series: int,
    attempt: int,
    unknown: bool,  # noqa: FBT001 - a column of the table
    last_error: str | None,
    ended_by: EndedBy | None,
    letter: LetterState | None,
) -> None:
    """Each history, field by field; the letter is why an operator has to look."""
    payment = fold(HISTORIES[history])

    assert state == payment.state
    assert (series, attempt) == (payment.series, payment.attempt)
    assert unknown is payment.unknown
    assert last_error == payment.last_error
    assert ended_by == payment.ended_by
    assert letter == payment.letter
    assert (state in {"succeeded", "failed"}) is payment.ended
    assert history.startswith("refused") is payment.refused
    assert payment.version == 1 + len(HISTORIES[history])


def test_every_history_is_in_the_table_above() -> None:
    """A history that nobody looks at proves nothing."""
    (mark,) = test_events_leave_a_payment_in_its_state.pytestmark  # type: ignore[attr-defined]

    assert list(HISTORIES) == [row[0] for row in mark.args[1]]


@pytest.mark.parametrize("history", HISTORIES)
def test_a_withdrawals_money_is_set_aside_exactly_while_it_has_no_end(history: str) -> None:
    """And a deposit's never: there is nothing to set aside."""
    payment = fold(HISTORIES[history])

    assert payment.held is not payment.ended
    assert (history in OPEN) is not payment.ended


def test_a_requeued_deposit_holds_nothing() -> None:
    """Only a withdrawal's money is taken anew."""
    requeued = REQUEUED.__class__(
        **{name: getattr(REQUEUED, name) for name in REQUEUED.__struct_fields__ if name != "kind"}, kind="deposit"
    )

    payment = fold([*DECLINED, requeued], kind="deposit")

    assert not payment.held
    assert payment.gateway_key == "payment-1025-2"


@pytest.mark.parametrize(
    ("event", "from_new", "from_in_doubt", "from_failed"),
    [
        (requested(), "new", "new", "new"),
        (attempted("unknown"), "processing", "processing", "processing"),
        (REQUEUED, "processing", "processing", "processing"),
        (PARKED, "in_doubt", "in_doubt", "in_doubt"),
        (succeeded("gateway"), "succeeded", "succeeded", "succeeded"),
        (failed("gateway"), "failed", "failed", "failed"),
        (INQUIRED, "new", "in_doubt", "failed"),
        (CONTRADICTED, "new", "in_doubt", "failed"),
        (resolved("failed"), "new", "in_doubt", "failed"),
        (
            msgspec.structs.replace(attempted("approved"), late=True),
            "new",
            "in_doubt",
            "failed",
        ),
    ],
)
def test_an_event_brings_a_payment_into_a_state(
    event: PaymentEvent, from_new: PaymentState, from_in_doubt: PaymentState, from_failed: PaymentState
) -> None:
    """Five of them always into the same; those that only tell something leave it where it is."""
    assert from_new == state_after("new", event)
    assert from_in_doubt == state_after("in_doubt", event)
    assert from_failed == state_after("failed", event)


def test_a_late_answer_is_no_further_attempt() -> None:
    """It changes neither the count nor the last error."""
    late = msgspec.structs.replace(attempted("approved"), late=True)

    payment = fold([*HISTORIES["unknown, then turned away"], late])

    assert (payment.attempt, payment.last_error, payment.state) == (2, "connect_error", "processing")


# --- the next attempt ------------------------------------------------------------------------------------------------

RETRY, INQUIRE, UNASKED = RetryAfter(1.5), InquireAfter(5.0), Fail(unasked=True)

NEXT_ATTEMPT: list[tuple[bool, OutcomeName, FollowUp, str]] = [
    # unknown before, the gateway said, the process wants, what happens
    (False, "approved", Succeed(), "gateway_attempted succeeded"),
    (False, "approved", Fail(), "impossible"),
    (False, "approved", UNASKED, "impossible"),
    (False, "approved", RETRY, "impossible"),
    (False, "approved", INQUIRE, "impossible"),
    (False, "declined", Succeed(), "impossible"),
    (False, "declined", Fail(), "gateway_attempted failed"),
    (False, "declined", UNASKED, "gateway_attempted failed"),
    (False, "declined", RETRY, "impossible"),
    (False, "declined", INQUIRE, "gateway_attempted"),
    (False, "turned_away", Succeed(), "impossible"),
    (False, "turned_away", Fail(), "gateway_attempted failed"),
    (False, "turned_away", UNASKED, "gateway_attempted failed"),
    (False, "turned_away", RETRY, "gateway_attempted"),
    (False, "turned_away", INQUIRE, "gateway_attempted"),
    (False, "unknown", Succeed(), "impossible"),
    (False, "unknown", Fail(), "impossible"),
    (False, "unknown", UNASKED, "gateway_attempted failed"),
    (False, "unknown", RETRY, "gateway_attempted"),
    (False, "unknown", INQUIRE, "gateway_attempted"),
    (True, "approved", Succeed(), "gateway_attempted succeeded"),
    (True, "approved", Fail(), "impossible"),
    (True, "approved", UNASKED, "impossible"),
    (True, "approved", RETRY, "impossible"),
    (True, "approved", INQUIRE, "impossible"),
    (True, "declined", Succeed(), "impossible"),
    (True, "declined", Fail(), "impossible"),
    (True, "declined", UNASKED, "gateway_attempted failed"),
    (True, "declined", RETRY, "impossible"),
    (True, "declined", INQUIRE, "gateway_attempted"),
    (True, "turned_away", Succeed(), "impossible"),
    (True, "turned_away", Fail(), "impossible"),
    (True, "turned_away", UNASKED, "gateway_attempted failed"),
    (True, "turned_away", RETRY, "gateway_attempted"),
    (True, "turned_away", INQUIRE, "gateway_attempted"),
    (True, "unknown", Succeed(), "impossible"),
    (True, "unknown", Fail(), "impossible"),
    (True, "unknown", UNASKED, "gateway_attempted failed"),
    (True, "unknown", RETRY, "gateway_attempted"),
    (True, "unknown", INQUIRE, "gateway_attempted"),
]


@pytest.mark.parametrize(
    ("history", "told", "then", "expected"),
    [
        (history, told, then, expected)
        for history, unknown in OPEN.items()
        for unknown_before, told, then, expected in NEXT_ATTEMPT
        if unknown is unknown_before and history not in PARKED_ONES
    ],
)
def test_the_next_attempt_of_an_open_payment(history: str, told: OutcomeName, then: FollowUp, expected: str) -> None:
    """Nothing fails while money may have moved and nobody has asked, unless the gateway cannot be asked."""
    payment = fold(HISTORIES[history])

    assert expected == reported(payment, outcome(payment, told, then))


@pytest.mark.parametrize("history", PARKED_ONES)
@pytest.mark.parametrize(
    ("told", "then"), [("approved", Succeed()), ("turned_away", RETRY), ("unknown", INQUIRE), ("declined", UNASKED)]
)
def test_a_parked_payment_has_no_next_attempt(history: str, told: OutcomeName, then: FollowUp) -> None:
    """It is only asked about; nobody calls the gateway for it, so such a report is a mistake of ours."""
    payment = fold(HISTORIES[history])

    assert reported(payment, outcome(payment, told, then)) == "impossible"


@pytest.mark.parametrize("history", HISTORIES)
def test_an_answer_about_a_series_that_nobody_began_is_impossible(history: str) -> None:
    """Whatever it says, and whatever has become of the payment."""
    payment = fold(HISTORIES[history])
    later = payment.series + 1

    assert reported(payment, outcome(payment, "approved", Succeed(), series=later, attempt=1)) == "impossible"
    assert reported(payment, inquiry(payment, "approved", Succeed(), series=later)) == "impossible"


def test_an_attempt_is_recorded_with_all_that_the_gateway_told() -> None:
    """And with the time of the next call, on the batch's clock."""
    payment = fold(HISTORIES["turned away"])
    report = outcome(
        payment,
        "unknown",
        RETRY,
        http_status=502,
        error="gateway_error_502",
        reference="r-1",
        answer_digest="ab" * 32,
        elapsed_ms=17,
    )

    events = record_outcome(payment, report, at=AT)

    assert events == [
        GatewayAttempted(
            payment_id=1025,
            series=1,
            attempt=2,
            gateway_key="payment-1025",
            outcome="unknown",
            http_status=502,
            error="gateway_error_502",
            reference="r-1",
            answer_digest="ab" * 32,
            elapsed_ms=17,
            late=False,
            retry_at=AT + timedelta(seconds=1.5),
            inquire_at=None,
        )
    ]


def test_an_attempt_after_which_the_gateway_is_asked_says_when() -> None:
    """So that a reader of the event knows what comes next."""
    payment = fold([])

    (event,) = record_outcome(payment, outcome(payment, "unknown", INQUIRE), at=AT)

    assert isinstance(event, GatewayAttempted)
    assert (event.retry_at, event.inquire_at) == (None, AT + timedelta(seconds=5))


def test_a_success_tells_all_that_its_reader_needs() -> None:
    """Whose money, how much, and who told us."""
    payment = fold(HISTORIES["requeued"], kind="withdraw")

    attempt, end = record_outcome(payment, outcome(payment, "approved", Succeed(), reference="r-9"), at=AT)

    assert isinstance(attempt, GatewayAttempted)
    assert (attempt.retry_at, attempt.inquire_at, attempt.late) == (None, None, False)
    assert end == PaymentSucceeded(
        payment_id=1025,
        account_id=1,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=2,
        ended_by="gateway",
        reference="r-9",
    )


@pytest.mark.parametrize(
    ("then", "error", "reason"),
    [
        (Fail("declined"), "gateway_error_400", "declined"),
        (Fail(), "gateway_error_400", "gateway_error_400"),
        (Fail(), None, "unknown_reason"),
        (Fail("", unasked=True), "timeout", "timeout"),
    ],
)
def test_a_failure_tells_its_reason(then: Fail, error: str | None, reason: str) -> None:
    """The process's word, or else the error of the attempt; never nothing."""
    payment = fold([])

    _, end = record_outcome(payment, outcome(payment, "declined", then, error=error), at=AT)

    assert end == PaymentFailed(
        payment_id=1025,
        account_id=1,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=1,
        ended_by="gateway",
        reason=reason,
    )


@pytest.mark.parametrize("history", OPEN)
@pytest.mark.parametrize(("series_later", "attempts_later"), [(0, 2), (0, 100), (1, 1), (1, 0), (7, 3)])
def test_an_attempt_that_is_not_the_next_one_is_impossible(
    history: str, series_later: int, attempts_later: int
) -> None:
    """A gap in the attempts, or a series that nobody began, is a mistake of ours and is not recorded."""
    payment = fold(HISTORIES[history])
    series, attempt = payment.series + series_later, payment.attempt + attempts_later
    if attempt <= payment.attempt:
        attempt = payment.attempt + 1
    report = outcome(payment, "turned_away", RETRY, series=series, attempt=attempt)

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, report, at=AT)

    assert refused.value.facts == {
        "payment_id": 1025,
        "state": payment.state,
        "why": f"series {series} was never begun"
        if series_later
        else f"attempt {attempt} of series {series} is not the next one",
    }


def test_failing_a_doubtful_payment_unasked_says_why_not() -> None:
    """The refusal tells an operator what would have been wrong."""
    payment = fold(HISTORIES["unknown"])

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, outcome(payment, "declined", Fail("declined")), at=AT)

    assert refused.value.why == "money may have moved and the gateway was not asked"


def test_a_follow_up_that_does_not_follow_is_named() -> None:
    """Both halves, so that the mistake is found."""
    payment = fold([])

    with pytest.raises(OutcomeImpossible) as refused:
        record_outcome(payment, outcome(payment, "approved", RETRY), at=AT)

    assert refused.value.why == "RetryAfter does not follow from approved"


# --- late, doubled and contradicting answers -------------------------------------------------------------------------

LATE = "gateway_attempted succeeded"

LATE_ANSWERS: list[tuple[str, int, int, OutcomeName, str]] = [
    # history, series and attempt of the answer, the gateway said, what happens
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
    ("reconciled", 1, 1, "approved", ""),
    ("failed unasked", 1, 1, "approved", "contradicted"),
    ("failed unasked and requeued", 1, 1, "approved", LATE),
    ("declined, requeued under the same key", 1, 1, "approved", LATE),
]


@pytest.mark.parametrize(("history", "series", "attempt", "told", "expected"), LATE_ANSWERS)
@pytest.mark.parametrize("then", [Succeed(), Fail(), RETRY])
def test_a_late_answer_counts_only_when_it_tells_of_moved_money(
    history: str, series: int, attempt: int, told: OutcomeName, expected: str, then: FollowUp
) -> None:
    """Then it ends an open payment, and contradicts one that we had failed, once; what it wants next is past."""
    payment = fold(HISTORIES[history])

    assert expected == reported(payment, outcome(payment, told, then, series=series, attempt=attempt))


def test_a_late_success_is_recorded_as_late_and_ends_the_payment() -> None:
    """With its own attempt's number, so that the history shows which call it was."""
    payment = fold(HISTORIES["unknown, then turned away"])

    late, end = record_outcome(payment, outcome(payment, "approved", Succeed(), attempt=1, reference="r"), at=AT)

    assert isinstance(late, GatewayAttempted)
    assert (late.attempt, late.late, late.retry_at) == (1, True, None)
    assert isinstance(end, PaymentSucceeded)
    assert (end.ended_by, end.reference) == ("gateway", "r")


def test_a_contradiction_tells_which_series_and_what_the_gateway_said() -> None:
    """The series that we had failed, and not the one under way."""
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
    """Whatever it says: the sender looks again."""
    payment = fold(HISTORIES[history])
    seen = payment.version - behind
    facts = {"payment_id": 1025, "seen_version": seen, "version": payment.version}

    with pytest.raises(StaleCommand) as call:
        record_outcome(payment, outcome(payment, "approved", Succeed(), seen_version=seen), at=AT)
    with pytest.raises(StaleCommand) as inquired:
        record_inquiry(payment, inquiry(payment, "approved", Succeed(), seen_version=seen))

    assert facts == call.value.facts == inquired.value.facts


def test_money_moved_by_a_second_series_after_reconciling_the_first_is_no_silent_loss() -> None:
    """Series 1 was reconciled as success, then series 2 turns out to have moved the money as well."""
    reconciled = [resolved("success"), succeeded("reconciliation", series=2)]
    payment = fold([*HISTORIES["contradicted, then failed"], *reconciled])

    assert reported(payment, outcome(payment, "approved", Succeed(), series=2, attempt=1)) == "contradicted"


# --- inquiries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", OPEN)
@pytest.mark.parametrize(
    ("answer", "then", "expected"),
    [
        ("approved", Succeed(), "inquired succeeded"),
        ("approved", Fail(), "impossible"),
        ("approved", RETRY, "impossible"),
        ("approved", INQUIRE, "impossible"),
        ("declined", Succeed(), "impossible"),
        ("declined", Fail(), "inquired failed"),
        ("declined", RETRY, "impossible"),
        ("declined", INQUIRE, "impossible"),
        ("no_clear_answer", Succeed(), "impossible"),
        ("no_clear_answer", Fail(), "impossible"),
        ("no_clear_answer", UNASKED, "impossible"),
        ("no_clear_answer", RETRY, "impossible"),
        ("no_clear_answer", INQUIRE, "inquired parked"),
    ],
)
def test_an_inquiry_about_an_open_payment(history: str, answer: InquiryName, then: FollowUp, expected: str) -> None:
    """A clear answer ends it, any other parks it; parked already, no clear answer is nothing new."""
    payment = fold(HISTORIES[history])
    if history in PARKED_ONES and expected == "inquired parked":
        expected = ""

    assert expected == reported(payment, inquiry(payment, answer, then))


@pytest.mark.parametrize("history", sorted(set(HISTORIES) - set(OPEN)))
@pytest.mark.parametrize(
    ("answer", "then"), [("declined", Fail()), ("no_clear_answer", INQUIRE), ("declined", INQUIRE)]
)
def test_an_inquiry_about_an_ended_payment_tells_nothing_new(history: str, answer: InquiryName, then: FollowUp) -> None:
    """It was asked before the payment ended."""
    payment = fold(HISTORIES[history])

    assert reported(payment, inquiry(payment, answer, then)) == ""


def test_an_inquiry_about_an_earlier_series_tells_nothing_of_this_one() -> None:
    """The series has a key of its own, so what the gateway says of the old one does not end the new one."""
    payment = fold(HISTORIES["requeued and unknown"])

    assert reported(payment, inquiry(payment, "declined", Fail(), series=1)) == ""


@pytest.mark.parametrize("history", ["failed", "failed by inquiry", "failed and closed", "failed when in doubt"])
def test_success_learnt_by_an_inquiry_after_we_failed_it_contradicts(history: str) -> None:
    """As when a call tells it: an operator resolved the payment as failed while the gateway was being asked."""
    payment = fold(HISTORIES[history])

    assert reported(payment, inquiry(payment, "approved", Succeed())) == "contradicted"


def test_success_of_an_earlier_series_learnt_by_an_inquiry_contradicts() -> None:
    """As when a call tells it: the money of the series that we had failed has moved."""
    payment = fold(HISTORIES["requeued"])

    assert reported(payment, inquiry(payment, "approved", Succeed(), series=1)) == "contradicted"


def test_an_inquiry_is_recorded_with_all_that_the_gateway_told() -> None:
    """And the payment is parked for what the gateway did not say clearly."""
    payment = fold(HISTORIES["unknown"])
    told = {"http_status": 200, "reference": "r", "answer_digest": "ef" * 32, "elapsed_ms": 9}

    events = record_inquiry(payment, inquiry(payment, "no_clear_answer", INQUIRE, error="pending", **told))

    assert events == [
        PaymentInquired(
            payment_id=1025,
            series=1,
            gateway_key="payment-1025",
            answer="no_clear_answer",
            http_status=200,
            error="pending",
            reference="r",
            answer_digest="ef" * 32,
            elapsed_ms=9,
        ),
        PaymentParked(payment_id=1025, series=1, reason="pending"),
    ]


def test_a_payment_is_parked_for_a_reason_also_when_the_gateway_gave_no_error() -> None:
    """The dead letter has to say something."""
    payment = fold(HISTORIES["unknown"])

    _, parked = record_inquiry(payment, inquiry(payment, "no_clear_answer", INQUIRE))

    assert parked == PaymentParked(payment_id=1025, series=1, reason="no_clear_answer")


@pytest.mark.parametrize(("reason", "expected"), [("declined", "declined"), (None, "timeout")])
def test_a_payment_that_an_inquiry_failed_says_why(reason: str | None, expected: str) -> None:
    """What the gateway says, or where it never saw the payment, what went wrong with the last attempt."""
    payment = fold(HISTORIES["in doubt"])

    _, end = record_inquiry(payment, inquiry(payment, "declined", Fail(reason)))

    assert isinstance(end, PaymentFailed)
    assert (end.ended_by, end.reason, end.series) == ("inquiry", expected, 1)


def test_a_payment_that_an_inquiry_settled_says_so() -> None:
    """With the gateway's reference."""
    payment = fold(HISTORIES["in doubt"])

    _, end = record_inquiry(payment, inquiry(payment, "approved", Succeed(), reference="r-3"))

    assert isinstance(end, PaymentSucceeded)
    assert (end.ended_by, end.reference, end.series) == ("inquiry", "r-3", 1)


def test_an_inquirys_answer_that_does_not_fit_is_named() -> None:
    """Both halves, so that the mistake is found."""
    payment = fold(HISTORIES["unknown"])

    with pytest.raises(OutcomeImpossible) as refused:
        record_inquiry(payment, inquiry(payment, "no_clear_answer", Fail()))

    assert refused.value.why == "Fail does not follow from no_clear_answer"


# --- the operator ----------------------------------------------------------------------------------------------------


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
        ("contradicted", "reconcile"),
        ("contradicted and closed", "failed"),
        ("reconciled", "succeeded"),
        ("contradicted under way", "processing"),
        ("contradicted under way, then unknown", "processing"),
        ("contradicted, then failed", "reconcile"),
        ("contradicted, then succeeded", "reconcile"),
        ("closed, then contradicted", "reconcile"),
    ],
)
def test_only_what_failed_at_the_gateway_is_queued_again(history: str, expected: str) -> None:
    """A new series, or the state for which it is refused: money that may have moved is never asked for twice."""
    payment = fold(HISTORIES[history])

    try:
        answer = f"series {requeue(payment, why='again', same_gateway_key=False).series}"
    except NotRequeueable as refusal:
        answer = refusal.state

    assert expected == answer


@pytest.mark.parametrize(("same_gateway_key", "gateway_key"), [(False, "payment-1025-2"), (True, "payment-1025")])
def test_a_new_series_has_a_gateway_key_of_its_own_unless_told_otherwise(
    same_gateway_key: bool,  # noqa: FBT001 - a column of the table
    gateway_key: str,
) -> None:
    """A gateway answers a used key with the old refusal; one that cannot be asked gets the old key again."""
    payment = fold(HISTORIES["failed"])

    requeued = requeue(payment, why="they say it works now", same_gateway_key=same_gateway_key)

    assert requeued == PaymentRequeued(
        payment_id=1025,
        account_id=1,
        kind="withdraw",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        series=2,
        gateway_key=gateway_key,
        why="they say it works now",
    )


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
        ("contradicted, then succeeded", "resolved", "reconcile"),
        ("closed, then contradicted", "resolved succeeded by reconciliation", "resolved"),
    ],
)
def test_only_a_dead_letter_is_resolved(history: str, success: str, failure: str) -> None:
    """Events, or the state for which it is refused; a payment that failed without contradiction cannot succeed."""
    payment = fold(HISTORIES[history])

    def said(resolution: Resolution) -> str:
        try:
            events = resolve(payment, outcome=resolution, why="the bank told us")
        except NotResolvable as refusal:
            return refusal.state
        assert events[0] == PaymentResolved(payment_id=1025, outcome=resolution, why="the bank told us")
        end = events[-1]
        by = f" by {end.ended_by}" if isinstance(end, PaymentSucceeded | PaymentFailed) else ""
        return topics(events) + by

    assert (success, failure) == (said("success"), said("failed"))


def test_a_refused_operator_is_told_the_payment_and_its_state() -> None:
    """Of the letter where there is one, else of the payment."""
    payment = fold(HISTORIES["contradicted"])

    with pytest.raises(NotRequeueable) as not_requeueable:
        requeue(payment, why="again", same_gateway_key=False)
    with pytest.raises(NotResolvable) as not_resolvable:
        resolve(fold(HISTORIES["failed"]), outcome="success", why="no")

    assert not_requeueable.value.facts == {"payment_id": 1025, "state": "reconcile"}
    assert not_resolvable.value.facts == {"payment_id": 1025, "state": "failed"}


def test_a_payment_resolved_as_failed_says_so() -> None:
    """Its reason is the operator's decision, and not the gateway's last error."""
    _, end = resolve(fold(HISTORIES["in doubt"]), outcome="failed", why="the bank told us")

    assert isinstance(end, PaymentFailed)
    assert (end.reason, end.ended_by, end.series) == ("resolved_as_failed", "resolution", 1)


def test_a_payment_resolved_as_succeeded_has_no_reference_of_the_gateway() -> None:
    """Nobody but the operator has told us."""
    _, end = resolve(fold(HISTORIES["in doubt"]), outcome="success", why="the bank told us")

    assert isinstance(end, PaymentSucceeded)
    assert (end.reference, end.ended_by) == (None, "resolution")


def test_failing_a_series_in_doubt_does_not_close_the_contradiction_of_the_one_before() -> None:
    """The gateway has told that series 1 moved the money; that has still to be settled."""
    in_doubt: list[PaymentEvent] = [
        *HISTORIES["contradicted under way"],
        attempted("unknown", series=2, error="timeout"),
        PaymentParked(payment_id=1025, series=2, reason="pending"),
    ]

    payment = fold([*in_doubt, *resolve(fold(in_doubt), outcome="failed", why="series 2 never arrived")])

    assert (payment.state, payment.letter) == ("failed", "reconcile")
