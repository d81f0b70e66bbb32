"""Logs: JSON for machines, lines for people, and no secrets in tracebacks."""

import json
import logging
import subprocess
import sys
import threading
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
def test_nothing_that_was_sent_rules_the_terminal(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """Control characters, and what turns the direction of writing, are shown as what they are."""
    configure_logs("info", plain=plain)
    sent = "a\x1b[2Jb\x9bc\u202ed\x07\r"

    structlog.get_logger().warning("request", path=sent, facts={"inner": [sent]})
    logging.getLogger("library").warning("refused %s", sent)
    try:
        int(sent)
    except ValueError:
        structlog.get_logger().exception("failed")

    output = capsys.readouterr().err
    assert output.count("x1b[2Jb") == 4
    assert not [character for character in output if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize("plain", [True, False])
def test_what_is_no_unicode_is_written_all_the_same(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """A log never raises: file names and errors may have half a surrogate pair in them."""
    configure_logs("info", plain=plain)

    structlog.get_logger().warning("half", path="/\ud800", facts=["\udcff"])

    output = capsys.readouterr().err
    assert "ud800" in output
    assert "udcff" in output


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

    logging.getLogger("aiohttp.client").info("not shown")
    logging.getLogger("aiohttp.client").warning("lost %s", "it")

    output = capsys.readouterr().err
    assert "lost it" in output
    assert "aiohttp.client" in output
    assert "not shown" not in output
    assert plain or json.loads(output)["level"] == "warning"


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    "secretive",
    [
        "postgresql://ledger:hunter2@db:5432/ledger",
        "postgresql://ledger:p@hunter2@db/ledger",
        "host=db password=hunter2 user=ledger",
        "host=db password='a hunter2' user=ledger",
        "host=db password='it\\'s hunter2' user=ledger",
        "https://gateway.example/v1?password=hunter2&a=b",
    ],
)
def test_passwords_are_masked(capsys: pytest.CaptureFixture[str], secretive: str, *, plain: bool) -> None:
    """Wherever they stand: in the event, in a fact, deep in a fact, in an error's text, in what a library says."""
    configure_logs("info", plain=plain)
    log = structlog.get_logger()

    log.info(secretive, fact=secretive, deep={"list": [secretive, (secretive,)]})
    logging.getLogger("psycopg").warning("lost %s", secretive)
    log.error("failed", exc_info=RuntimeError(secretive))

    output = capsys.readouterr().err
    assert "hunter2" not in output
    assert output.count("***") == 6


def test_a_line_names_the_part_in_every_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """The writer logs from a thread of its own."""
    configure_logs("info", part="worker", plain=False)

    thread = threading.Thread(target=structlog.get_logger().info, args=["claimed"])
    thread.start()
    thread.join()

    assert json.loads(capsys.readouterr().err)["part"] == "worker"


def test_a_log_that_nobody_can_read_stops_nothing() -> None:
    """As when the terminal is gone."""
    program = (
        "import logging, os, structlog\n"
        "from api.logs import configure_logs\n"
        "configure_logs('info')\n"
        "reading, writing = os.pipe()\n"
        "os.close(reading)\n"
        "os.dup2(writing, 2)\n"
        "structlog.get_logger().info('unheard')\n"
        "logging.getLogger('psycopg').warning('unheard')\n"
        "print('alive')\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)

    assert ended.stdout == "alive\n"
