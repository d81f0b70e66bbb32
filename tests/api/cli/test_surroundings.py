"""The shell around the command line: variables of other tools, and terminals that are closed or know only ASCII."""

import subprocess
import sys
from pathlib import Path

import pytest

from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, declined_deposit
from tests.support.services import CHECKOUT, Service


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """Return Python's variables as another project needs them, which has an `api` and a `structlog` of its own."""
    directory = tmp_path / "another project"
    (directory / "api").mkdir(parents=True)
    for name in ("api/__init__.py", "structlog.py", "click.py"):
        (directory / name).write_text("raise SystemExit('this is another project')\n")
    return {"PYTHONPATH": str(directory), "PYTHONOPTIMIZE": "2"}


@pytest.mark.parametrize("level", ["1", "2"])
def test_a_python_without_assertions_is_refused(shell: Shell, level: str) -> None:
    """They guard the books. The message names the variable."""
    ended = shell.run("settings", PYTHONOPTIMIZE=level)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "PYTHONOPTIMIZE" in ended.stderr


def test_variables_of_python_reach_neither_the_service_nor_its_parts(tmp_path: Path, foreign: dict[str, str]) -> None:
    """As `make run` starts it. Assertions stay, and no module of the other project is imported."""
    assert "$(PY) -I -m api.cli serve" in (CHECKOUT / "Makefile").read_text("utf-8")
    service = Service(tmp_path, **foreign)
    service.command = lambda *words: [sys.executable, "-I", "-m", "api.cli", *words]  # type: ignore[method-assign]

    service.start()
    service.stop()


def test_a_terminal_that_knows_only_ascii_shows_escapes(shell: Shell, writer: Writer) -> None:
    """No command fails for a character that the terminal does not have."""
    payment_id = declined_deposit(writer)
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}

    decided = shell.run("dlq", "requeue", str(payment_id), "--why", "größer", "--by", "Ada", "--json", **ascii_only)
    shown = shell.run("dlq", "show", str(payment_id), **ascii_only)
    refused = shell.run("dlq", "show", "größer", **ascii_only)

    assert (decided.returncode, shown.returncode, refused.returncode) == (0, 0, 2)
    assert r"gr\xf6\xdfer" in shown.stdout
    assert "Traceback" not in decided.stderr + shown.stderr + refused.stderr


@pytest.mark.parametrize(("closed", "shows"), [("<&-", True), (">&-", False), ("2>&-", True), ("<&- >&- 2>&-", False)])
@pytest.mark.parametrize("words", ["dlq list", "settings"])
def test_a_closed_stream_harms_nothing(shell: Shell, words: str, closed: str, *, shows: bool) -> None:
    """A connection to the database does not get its number, and so no text of the program."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m api.cli {words} {closed}', sys.executable],
        cwd=shell.directory,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr, bool(ended.stdout)) == (0, "", shows)


def test_a_child_process_has_the_streams_that_were_closed(shell: Shell) -> None:
    """The parts of `serve`, and Postgres. A connection of theirs would get the number of a stream."""
    child = "import os; [os.fstat(number) for number in (0, 1, 2)]"
    program = (
        "import subprocess, sys; from api.cli.surroundings import repair_streams; repair_streams();"
        f"sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    )

    ended = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program],
        cwd=shell.directory,
        env=shell.environment,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "no-such-machine.invalid"])
def test_a_host_that_another_tool_has_set_is_named(tmp_path: Path, host: str) -> None:
    """Nothing is started, and the message says which variable it is."""
    ended = Service(tmp_path, HOST=host).run("serve")

    assert ended.returncode == 1
    assert f"{host}:" in ended.stderr
    assert "HOST chooses another address; some shells and tools set HOST for themselves." in ended.stderr
    assert not (tmp_path / "var").exists()
