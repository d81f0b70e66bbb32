"""The worker's lines about gateway errors: each error by itself, and an outage as a whole."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ledger.domain.commands import Fail, FollowUp, GatewayReport, InquireAfter, RecordInquiry, RetryAfter, Succeed
from processors.payments.call_log import CallLog
from tests.support.ledgers.running_writer import inquiry, outcome

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def attempt(error: str | None, then: FollowUp, *, status: int | None = 503, named: str = "unknown") -> GatewayReport:
    """Report a call with this result."""
    facts: dict[str, Any] = {"error": error, "http_status": status, "outcome": named, "then": then}
    return outcome(7, **facts)


def asked(error: str, then: FollowUp, *, status: int | None = None) -> RecordInquiry:
    """Report an inquiry without a clear answer."""
    return inquiry(7, answer="no_clear_answer", error=error, http_status=status, then=then)


def lines_of(*reports: GatewayReport) -> list[EventDict]:
    """Return the lines about some reports, one a second."""
    now = iter(range(10_000))
    log = CallLog(clock=lambda: float(next(now)))
    with capture_logs() as lines:
        for report in reports:
            log.note(report, TRACE)
    return lines


APPROVED = attempt(None, Succeed(), status=200, named="approved")


@pytest.mark.parametrize(
    ("report", "event", "level"),
    [
        (attempt("timeout", RetryAfter(0.5), status=None), "payment_retry", "info"),
        (attempt("gateway_error_429", RetryAfter(0.5), status=429, named="turned_away"), "payment_retry", "info"),
        (attempt("gateway_error_503", InquireAfter(30.0)), "payment_in_doubt", "warning"),
        (attempt("connection_refused", Fail("connection_refused"), named="turned_away"), "payment_failed", "warning"),
        (attempt("declined", Fail("declined"), status=200, named="declined"), "payment_declined", "info"),
        (attempt("lease_expired", RetryAfter(0.5), status=None), "lease_expired", "warning"),
        (asked("timeout", InquireAfter(60.0)), "inquiry_unclear", "info"),
        (asked("gateway_error_500", InquireAfter(60.0), status=500), "inquiry_unclear", "info"),
    ],
)
def test_an_error_has_a_line_with_its_payment_and_its_trace(report: GatewayReport, event: str, level: str) -> None:
    """Its level says whether somebody has to look at it."""
    (line,) = lines_of(report)

    assert (line["event"], line["log_level"], line["payment_id"]) == (event, level, 7)
    assert (line["error"], line["trace_id"]) == (report.error, "4bf92f3577b34da6a3ce929d0e0e4736")


@pytest.mark.parametrize(
    "report", [APPROVED, asked("inquiry_switched_off", InquireAfter(60.0))], ids=["approved", "nobody asked"]
)
def test_a_step_without_an_error_of_the_gateway_has_no_line(report: GatewayReport) -> None:
    """A service that works well is silent."""
    assert lines_of(report) == []


def test_an_outage_of_a_minute_has_under_twenty_lines_and_counts_what_it_caused() -> None:
    """The gateway is away for 1,000 payments: its begin, its end, and a line every ten seconds between."""
    failing = [attempt("connection_refused", Fail(), status=None, named="turned_away")] * 30
    doubtful = [attempt("timeout", InquireAfter(30.0), status=None)] * 30

    lines = lines_of(*failing, *doubtful, APPROVED)

    outage = [line for line in lines if line["event"].startswith("gateway_outage")]
    assert [line["event"] for line in outage] == [
        "gateway_outage_began",
        *["gateway_outage_goes_on"] * 5,
        "gateway_outage_ended",
    ]
    assert (outage[-1]["errors"], outage[-1]["failed"], outage[-1]["in_doubt"]) == (60, 30, 30)
    assert outage[-2]["last_error"] == "timeout"
    assert len(lines) < 20


def test_one_error_in_four_is_no_outage() -> None:
    """Each error has its own line."""
    error = attempt("gateway_error_503", RetryAfter(0.1))

    lines = lines_of(*[error, APPROVED, APPROVED, APPROVED] * 100)

    assert {line["event"] for line in lines} == {"payment_retry"}
    assert len(lines) == 100


def test_answers_that_only_decline_end_an_outage() -> None:
    """The gateway answers again, although it moves no money."""
    away = [attempt("timeout", RetryAfter(0.1), status=None)] * 10
    declined = attempt("declined", Fail("declined"), status=200, named="declined")

    events = [line["event"] for line in lines_of(*away, declined)]

    assert events[-3:] == ["gateway_outage_began", "gateway_outage_ended", "payment_declined"]


def test_calls_that_were_turned_away_are_an_outage_too() -> None:
    """They use up no attempt, so no report tells of them."""
    now = iter(range(100))
    log = CallLog(clock=lambda: float(next(now)))
    with capture_logs() as lines:
        for _ in range(25):
            log.turned_away("connection_refused")
        log.note(APPROVED)

    assert [line["event"] for line in lines] == [
        "gateway_outage_began",
        "gateway_outage_goes_on",
        "gateway_outage_ended",
    ]
    assert {line["errors"] for line in lines} == {10, 20, 25}
    assert lines[0]["last_error"] == "connection_refused"
