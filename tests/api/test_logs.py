"""Logs: JSON for machines, lines for people, and no secrets in tracebacks."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from api.logs import configure_logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the logging of the tests as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def fail() -> None:
    """Raise with a secret near by."""
    password = "hunter" + "2"
    raise RuntimeError(len(password))


def test_a_line_is_json_with_time_level_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, one line an event; what is below the level is left out."""
    configure_logs("info")
    log = structlog.get_logger()

    log.debug("not shown")
    log.info("payment taken", payment_id=7, kind={"odd"})

    output = capsys.readouterr()
    line = json.loads(output.err)
    assert output.out == ""
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "payment taken", "level": "info", "payment_id": 7, "kind": ["odd"]}


@pytest.mark.parametrize("plain", [True, False])
def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """They may be secrets."""
    configure_logs("info", plain=plain)

    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("failed")

    output = capsys.readouterr().err
    assert "RuntimeError" in output
    assert "in fail" in output
    assert "hunter2" not in output


@pytest.mark.parametrize("plain", [True, False])
def test_what_libraries_log_comes_out_in_the_same_form(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """Their warnings; the rest is theirs."""
    configure_logs("debug", plain=plain)

    logging.getLogger("psycopg.pool").info("not shown")
    logging.getLogger("psycopg.pool").warning("lost %s", "it")

    output = capsys.readouterr().err
    assert "lost it" in output
    assert "psycopg.pool" in output
    assert "not shown" not in output
    assert plain or json.loads(output)["level"] == "warning"
