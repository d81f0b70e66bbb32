"""The lines about a database that a part cannot use."""

import pytest
from structlog.testing import capture_logs

from ledger.sessions.outage_log import OutageLog


def test_an_outage_of_many_tries_has_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at its begin, one for each further reason, one every ten seconds, and one at its end."""
    now = [0.0]
    monkeypatch.setattr("ledger.sessions.outage_log.time.monotonic", lambda: now[0])
    log = OutageLog("worker")

    with capture_logs() as lines:
        for tenth in range(300):
            now[0] = tenth / 10
            log.failed("it shuts down" if tenth < 2 else "refused", sqlstate=None)
        log.worked()
        log.worked()
        log.failed("refused", sqlstate=None)

    assert [(line["event"], line["log_level"], line["errors"]) for line in lines] == [
        ("worker_interrupted", "warning", 1),
        ("worker_interrupted", "warning", 3),
        ("worker_interrupted", "warning", 101),
        ("worker_interrupted", "warning", 201),
        ("worker_goes_on", "info", 300),
        ("worker_interrupted", "warning", 1),
    ]


def test_reasons_that_all_differ_do_not_fill_the_log() -> None:
    """A reason may have a number in it that is another one each time."""
    log = OutageLog("writer")

    with capture_logs() as lines:
        for number in range(100):
            log.failed(f"connection {number} lost")

    assert len(lines) == 5
