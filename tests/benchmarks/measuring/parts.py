"""The parts of the service as processes, started by the real commands with their default settings.

They get a database, a gateway and a free port, and nothing else. An empty `.env` in their working directory keeps them
from reading another one. Each has a session of its own, so that Ctrl-C reaches the benchmark, which then stops them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
from msgspec import Struct

from api.settings import CHECKOUT
from ledger.store.database import Database
from tests.support.ports import free_port
from tests.support.services import READY, is_ready

START_SECONDS_MAX: Final = 90.0
STOP_SECONDS_MAX: Final = 30.0

_MAXRSS_A_MIB: Final = 1024 * 1024 if sys.platform == "darwin" else 1024
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


class PartFailed(Exception):
    """A process of the benchmark did not start, or ended by itself. The text is the end of its log."""


class Service:
    """A running service, or its API alone: its URL, and the ids of its processes by name."""

    def __init__(self, port: int, processes: dict[str, int], *, start_seconds: float) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.processes = processes
        self.start_seconds = start_seconds

    def ensure_whole(self) -> None:
        """Check that no part has died, because a restarted one counts from 0. Raises PartFailed."""
        for name, number in self.processes.items():
            if not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
                raise PartFailed(f"the {name} has ended by itself")


class Timed(Struct, frozen=True, kw_only=True):
    """The duration of a command, with its CPU and its peak memory."""

    seconds: float
    cpu_seconds: float
    memory_mib: float


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of our processes: these settings, and no others."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {"PYTHONPATH": str(CHECKOUT)} | settings


def command_line(*words: str) -> list[str]:
    """Return the command line of `payment-ledger`, as `serve` itself starts its parts."""
    return [sys.executable, "-P", "-m", "api.cli", *words]


def run_command(directory: Path, database: Database, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `payment-ledger` on a ledger to its end."""
    _keep_settings_out(directory)
    return subprocess.run(
        command_line(*words),
        cwd=directory,
        env=environment(DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema),
        capture_output=True,
        text=True,
        check=False,
    )


def timed_command(directory: Path, url: str, *words: str) -> Timed:
    """Run a command of `payment-ledger` to its end, and measure it. Raises PartFailed unless it succeeds."""
    _keep_settings_out(directory)
    with (directory / "command.log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command_line(*words),
            cwd=directory,
            env=environment(DATABASE_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                stop(process)
    if process.returncode != 0:
        raise PartFailed(f"{' '.join(words)}: {(directory / 'command.log').read_text('utf-8')[-2000:]}")
    return Timed(
        seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        memory_mib=usage.ru_maxrss / _MAXRSS_A_MIB,
    )


def command_output(directory: Path, *words: str) -> bytes:
    """Run a program of the benchmark to its end, and return its output. Raises PartFailed unless it succeeds."""
    done = subprocess.run(
        [sys.executable, "-P", *words], cwd=directory, env=environment(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise PartFailed(done.stderr.decode("utf-8", errors="replace")[-2000:])
    return done.stdout


@contextmanager
def serving(directory: Path, url: str, *, gateway_url: str | None) -> Iterator[Service]:
    """Run `payment-ledger serve`: API, worker and projector, and the demo gateway if no gateway's URL is given."""
    port = free_port()
    demo = {"DEMO_GATEWAY": "true", "DEMO_GATEWAY_PORT": str(free_port())}
    gateway = demo if gateway_url is None else {"PAYMENT_GATEWAY_URL": gateway_url}
    settings = environment(DATABASE_URL=url, PORT=str(port), **gateway)
    began = time.monotonic()
    with started(directory, "serve", command_line("serve"), settings) as process:
        wait_for(process, directory / "serve.log", lambda log: READY in log)
        took = time.monotonic() - began
        yield Service(port, {"serve": process.pid} | _children(process.pid), start_seconds=took)


@contextmanager
def serving_api(directory: Path, url: str, **other: str) -> Iterator[Service]:
    """Run only the API, as `serve` would start it, on a migrated database. `other` are more of its settings."""
    port = free_port()
    settings = environment(DATABASE_URL=url, PORT=str(port), AUTO_CREATE_TABLES="false", **other)
    began = time.monotonic()
    with started(directory, "api", command_line("api", "--until-eof"), settings) as process:
        wait_for(process, directory / "api.log", lambda _: is_ready(f"http://127.0.0.1:{port}"))
        yield Service(port, {"api": process.pid}, start_seconds=time.monotonic() - began)


@contextmanager
def started(
    directory: Path, name: str, command: Sequence[str], settings: dict[str, str]
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a process for the length of a block. Its output goes to `<name>.log`."""
    _keep_settings_out(directory)
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=settings,
            stdin=subprocess.PIPE,  # a part that reads the end of its input knows that we are gone
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[Any]") -> None:
    """Stop a process. If that takes too long, kill it with all that it has started."""
    family = _family(process.pid)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    for member in family:
        with suppress(psutil.Error):
            member.kill()


def _keep_settings_out(directory: Path) -> None:
    (directory / ".env").touch()


def wait_for(process: "subprocess.Popen[bytes]", log: Path, is_up: Callable[[bytes], bool]) -> None:
    """Wait until a process is ready, by its log. Raises PartFailed if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not is_up(log.read_bytes()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PartFailed(log.read_text("utf-8", errors="replace")[-3000:])
        time.sleep(0.02)


def _children(number: int) -> dict[str, int]:
    """The parts that `serve` has started, by their names."""
    found = {}
    for child in psutil.Process(number).children():
        words = child.cmdline()
        if "api.cli" in words:
            found[words[words.index("api.cli") + 1]] = child.pid
    return found


def _family(number: int) -> "list[psutil.Process]":
    with suppress(psutil.Error):
        children: list[psutil.Process] = psutil.Process(number).children(recursive=True)
        return children
    return []
