"""Logs: JSON for machines, lines for people, and no secrets in tracebacks."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import stamina.instrumentation
import structlog

from api.runtime.logs import configure_logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore the logging of the tests afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def fail() -> None:
    """Raise an error with a secret in a local variable."""
    password = "hunter" + "2"
    raise RuntimeError(len(password))


def test_a_line_is_json_with_time_level_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is one line on standard error, and events below the level are left out."""
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
def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """Control characters and those that change the writing direction are shown escaped."""
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
def test_invalid_unicode_is_logged(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """A log call never raises: file names and errors may contain half a surrogate pair."""
    configure_logs("info", plain=plain)

    structlog.get_logger().warning("half", path="/\ud800", facts=["\udcff"])

    output = capsys.readouterr().err
    assert "ud800" in output
    assert "udcff" in output


@pytest.mark.parametrize("plain", [True, False])
def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """Values may be secrets."""
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
def test_logs_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str], *, plain: bool) -> None:
    """Their warnings are logged, and lower levels are not."""
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
        "postgresql://db/ledger?sslkey=k&sslpassword=hunter2&user=ledger",
        "host=db oauth_client_secret=hunter2 user=ledger",
    ],
)
def test_passwords_are_masked(capsys: pytest.CaptureFixture[str], secretive: str, *, plain: bool) -> None:
    """They are masked in the event, in a fact, within a fact, in an error's text, and in messages of libraries."""
    configure_logs("info", plain=plain)
    log = structlog.get_logger()

    log.info(secretive, fact=secretive, deep={"list": [secretive, (secretive,)]})
    logging.getLogger("psycopg").warning("lost %s", secretive)
    log.error("failed", exc_info=RuntimeError(secretive))

    output = capsys.readouterr().err
    assert "hunter2" not in output
    assert output.count("***") == 6


def test_no_library_writes_a_line_for_each_try(capsys: pytest.CaptureFixture[str]) -> None:
    """While a database is away, each part tries again many times, and has lines of its own about it."""
    hooks = stamina.instrumentation.get_on_retry_hooks()
    configure_logs("info", plain=False)
    try:
        with pytest.raises(OSError, match="away"):
            stamina.retry(on=OSError, attempts=3, wait_initial=0.001)(away)()
    finally:
        stamina.instrumentation.set_on_retry_hooks(hooks)
    logging.getLogger("psycopg.pool").warning("error connecting")

    assert capsys.readouterr().err == ""


def test_a_try_is_a_line_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the number and the reason, without its secrets."""
    hooks = stamina.instrumentation.get_on_retry_hooks()
    configure_logs("debug", plain=False)
    try:
        with pytest.raises(OSError, match="away"):
            stamina.retry(on=OSError, attempts=2, wait_initial=0.001)(away)()
    finally:
        stamina.instrumentation.set_on_retry_hooks(hooks)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["number"], line["because"]) == ("retry", 1, "away, password=***")


def away() -> None:
    """Fail as something does that cannot be reached."""
    raise OSError("away, password=hunter2")


def test_a_line_names_the_part_in_every_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """The writer logs from its own thread."""
    configure_logs("info", part="worker", plain=False)

    thread = threading.Thread(target=structlog.get_logger().info, args=["claimed"])
    thread.start()
    thread.join()

    assert json.loads(capsys.readouterr().err)["part"] == "worker"


def test_a_closed_log_stops_nothing() -> None:
    """For example, the terminal may be gone."""
    program = (
        "import logging, os, structlog\n"
        "from api.runtime.logs import configure_logs\n"
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
