"""The worker's lines about gateway errors and their effects: a retry, a failed payment, a payment in doubt.

While the gateway is away, single errors are not written: there is a line when the outage begins, one every ten seconds
with the counts, and one when it ends. Only errors that tell of the gateway itself count as an outage: no answer at all,
429, and statuses of 500 or above. Nothing of a body or a header is written, only the short word for the error.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import structlog

from ledger.domain.commands import Fail, GatewayReport, InquireAfter, RecordGatewayOutcome, RecordInquiry, RetryAfter
from ledger.outages import Outage, OutageNews
from processors.gateways.outcomes import Declined, NoClearAnswer, NotAccepted, Unknown

ERRORS_MIN: Final = 10
"""As many errors without an answer between them are an outage. A gateway that fails one call in four is not away."""

SECONDS_MIN: Final = 10.0
"""Fewer errors are an outage too when no answer came for so long."""

LEASE_EXPIRED: Final = "lease_expired"
INQUIRY_SWITCHED_OFF: Final = "inquiry_switched_off"

TRACE_ID: Final = slice(3, 35)
"""Where a W3C trace context has the id of the trace."""

_OUR_OWN: Final = frozenset({LEASE_EXPIRED, INQUIRY_SWITCHED_OFF})
"""Words for steps without a call: they say nothing about the gateway."""

_ERRORS: Final = frozenset({NotAccepted.NAME, Unknown.NAME, NoClearAnswer.NAME})

_log = structlog.get_logger()


class CallLog:
    """Writes the lines of one worker."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outage = Outage(errors_min=ERRORS_MIN, seconds_min=SECONDS_MIN)
        self._failed = 0
        self._in_doubt = 0

    def note(self, report: GatewayReport, trace_context: str | None = None) -> None:
        """Note the result of a step, before it is recorded."""
        name = report.outcome if isinstance(report, RecordGatewayOutcome) else _inquiry(report).answer
        if report.error in _OUR_OWN:
            if report.error == LEASE_EXPIRED:
                _log.warning("lease_expired", **_facts(report, trace_context))
            return
        if name in _ERRORS and _is_of_gateway(report.http_status):
            self._count(report)
            news = self._outage.failed(self._clock())
            if self._outage.is_on:
                self._tell(news, report.error)
                return
        else:
            self._tell(self._outage.worked(self._clock()), report.error)
            self._failed = self._in_doubt = 0
        if name in _ERRORS or name == Declined.NAME:
            _tell_step(report, name, trace_context)

    def turned_away(self, error: str | None) -> None:
        """Note a call that was surely not accepted, and that is made again as if it had not been made."""
        self._tell(self._outage.failed(self._clock()), error)

    def _count(self, report: GatewayReport) -> None:
        self._failed += isinstance(report.then, Fail)
        self._in_doubt += isinstance(report, RecordGatewayOutcome) and isinstance(report.then, InquireAfter)

    def _tell(self, news: OutageNews | None, error: str | None) -> None:
        if news is None:
            return
        facts: dict[str, Any] = {"errors": news.errors, "failed": self._failed, "in_doubt": self._in_doubt}
        facts["seconds"] = round(news.seconds, 1)
        if news.phase == "ended":
            _log.warning("gateway_outage_ended", **facts)
        else:
            _log.warning(f"gateway_outage_{news.phase}", last_error=error, **facts)


def _inquiry(report: GatewayReport) -> RecordInquiry:
    assert isinstance(report, RecordInquiry), report
    return report


def _is_of_gateway(status: int | None) -> bool:
    """Whether an error with this status, None without an answer, tells of the gateway and not of one payment."""
    return status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


def _tell_step(report: GatewayReport, name: str, trace_context: str | None) -> None:
    facts = _facts(report, trace_context)
    match report.then:
        case RetryAfter(delay_seconds=seconds):
            _log.info("payment_retry", retry_in_seconds=round(seconds, 3), **facts)
        case Fail() if name == Declined.NAME:
            _log.info("payment_declined", **facts)
        case Fail():
            _log.warning("payment_failed", **facts)
        case InquireAfter() if isinstance(report, RecordGatewayOutcome):
            _log.warning("payment_in_doubt", **facts)
        case _:
            _log.info("inquiry_unclear", **facts)


def _facts(report: GatewayReport, trace_context: str | None) -> dict[str, Any]:
    """Return the facts of a line about a payment."""
    facts: dict[str, Any] = {"payment_id": report.payment_id, "series": report.series, "error": report.error}
    if isinstance(report, RecordGatewayOutcome):
        facts["attempt"] = report.attempt
    facts |= {"http_status": report.http_status, "elapsed_ms": report.elapsed_ms}
    if trace_context is not None:
        facts["trace_id"] = trace_context[TRACE_ID]
    return facts
