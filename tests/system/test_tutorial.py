"""The commands of the README and of the tutorial, run against a real service as a reader runs them.

A block that starts the service is carried out by starting one on free ports, with the settings that stand before
`make run`; addresses in commands and outputs are those of that service. Commands that only read are repeated for a
while, as a reader repeats them, until their output is the one that the page shows.
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.documents import CHECKOUT, Command, blocks, console_commands, fits, shell_lines
from tests.support.services import Service, serving

README: Final = (CHECKOUT / "README.md").read_text("utf-8")
TUTORIAL: Final = (CHECKOUT / "docs/tutorial.md").read_text("utf-8")

START: Final = re.compile(r"(?P<settings>(?:[A-Z_]+=\S+ )*)make run")
WRITES: Final = re.compile(r" -d |dlq (?:requeue|resolve)|audit (?:export|import)")
PATIENCE_SECONDS: Final = 60.0

AS_A_READER: Final = {
    "GATEWAY_TIMEOUT_SECONDS": "1.0",
    "GATEWAY_BACKOFF_BASE_SECONDS": "1.0",
    "GATEWAY_BACKOFF_MAX_SECONDS": "30.0",
    "GATEWAY_BACKOFF_JITTER_SECONDS": "0.5",
    "GATEWAY_INQUIRY_DELAY_SECONDS": "5",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "30.0",
    "COLUMNS": "120",
}
"""The defaults in place of the quick settings of tests, and a terminal as wide as the page's tables."""

pytestmark = pytest.mark.timeout(300)


def test_the_tutorials_commands_print_what_it_shows(tmp_path: Path) -> None:
    """From the first start to the last one, in order."""
    commands = list(console_of(TUTORIAL))
    first, *others = commands
    service = Service(tmp_path, **AS_A_READER, **settings_of(first))
    try:
        service.start()
        assert_announced(first, service)
        for command in others:
            if START.fullmatch(command.text):
                assert settings_of(command) == settings_of(first)
                service.stop()
                service.start()
                assert_announced(command, service)
            else:
                assert_prints(command, service)
    except BaseException:
        service.kill_everything()
        raise
    service.stop()
    assert len(commands) > 20


def test_the_readmes_first_payment_works(tmp_path: Path) -> None:
    """A reader who pastes the three commands gets a user, a payment and its state."""
    requests = [line for block in blocks(README) if block.language == "sh" for line in shell_lines(block)]
    curls = [line for line in requests if line.startswith("curl ")]

    with serving(tmp_path) as service:
        answers = [printed_by(line, service) for line in curls]

    assert len(curls) == 3
    assert [fits(shown, answer) for shown, answer in zip(README_ANSWERS, answers, strict=True)] == [True] * 3, answers


README_ANSWERS: Final = (
    '{"id":1,"balance":1000.00,...}',
    '{"payment_id":1,...,"status":"processing",...,"commission":4.00,...}',
    '{"payment_id":1,...,"amount":200.00,...}',
)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a ... c", "a b c", True),
        ("...\nReady.", "a\nb\nReady.\n", True),
        ("a  b", "a b", True),
        ('{"a":1,...}', '{"a":1,"b":2}', True),
        ('{"a":1}', '{"a":1,"b":2}', False),
        ("a ... c", "a b d", False),
        ("...", "", True),
        ("1.00", "1x00", False),
    ],
)
def test_an_output_that_differs_is_told_from_one_that_fits(expected: str, printed: str, same: bool) -> None:  # noqa: FBT001 - a column of the table
    """Or the pages would prove nothing."""
    assert fits(expected, printed) is same


def console_of(text: str) -> Iterator[Command]:
    for block in blocks(text):
        if block.language == "console":
            yield from console_commands(block)


def settings_of(command: Command) -> dict[str, str]:
    found = START.fullmatch(command.text)
    assert found is not None, command
    return dict(setting.split("=", 1) for setting in found["settings"].split())


def assert_announced(command: Command, service: Service) -> None:
    """Compare what the service has said since its last start with the page."""
    said = service.log()
    announced = said[said.rindex("The payment ledger is ready.") :]
    expected = on_ports_of(service, command.expected.removeprefix("...\n"))
    assert fits(expected.partition("\n...")[0] + " ...", announced), announced


def assert_prints(command: Command, service: Service) -> None:
    """Run a command until its output fits; once, when it changes something."""
    deadline = time.monotonic() + (0 if WRITES.search(command.text) else PATIENCE_SECONDS)
    expected = on_ports_of(service, command.expected)
    while not fits(expected, printed := printed_by(command.text, service)):
        assert time.monotonic() < deadline, f"{command.text}\n--- expected\n{expected}\n--- printed\n{printed}"
        time.sleep(0.2)


def printed_by(command: str, service: Service) -> str:
    """Run a command of a page in the service's directory and environment; it has to succeed."""
    program = f"{shlex.quote(sys.executable)} -m api.cli "
    text = on_ports_of(service, command.replace(".venv/bin/payment-ledger ", program))
    done = subprocess.run(
        ["/bin/sh", "-c", text],
        cwd=service.directory,
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    return done.stdout.replace("\r\n", "\n")


def on_ports_of(service: Service, text: str) -> str:
    """Put the addresses of a service in the place of the default ones."""
    gateway = f"http://127.0.0.1:{service.environment['DEMO_GATEWAY_PORT']}"
    for shown in ("http://localhost:8000", "http://127.0.0.1:8000"):
        text = text.replace(shown, service.url)
    return text.replace("http://127.0.0.1:8001", gateway)
