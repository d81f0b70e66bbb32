"""The processes of one service, which a test kills, freezes and restarts one by one."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

import psutil

from ledger.fail_points import FailPoint
from tests.support.ports import free_port
from tests.support.services import CHECKOUT, QUICK_GATEWAY, is_ready

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


class Member:
    """One process with its settings. It keeps its port when it is restarted.

    `program` are the words after the interpreter, for a process other than a command of `payment-ledger`.
    """

    def __init__(
        self, fleet: "Fleet", name: str, part: str, settings: dict[str, str], program: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.part = part
        self.port = free_port() if part == "api" else 0
        self._fleet = fleet
        self._program = program
        self._settings = settings | ({"PORT": str(self.port)} if self.port else {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *armed: str) -> None:
        """Start it. `armed` are options of `tests.chaos.armed_part`; without them it starts without fail points."""
        module = ["tests.chaos.armed_part", "--hits", str(self._fleet.hits_file), *armed] if armed else ["api.cli"]
        with self._fleet.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *(self._program or ["-m", *module, self.part])],
                cwd=self._fleet.directory,
                env=self._fleet.environment | self._settings,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal: kill, freeze (SIGSTOP) or continue (SIGCONT)."""
        if self.is_alive() and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS_MAX)

    def stop(self) -> int:
        """Stop it and wait. Returns its exit code."""
        assert self._process is not None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS_MAX)

    def wait_until_hit(self) -> None:
        """Wait until it has frozen at its fail point."""
        deadline = time.monotonic() + START_SECONDS_MAX
        assert self._process is not None
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, self._fleet.log.read_text()[-3000:]
            time.sleep(0.01)

    def wait_until_dead(self) -> int:
        assert self._process is not None
        return self._process.wait(START_SECONDS_MAX)

    def wait_until_ready(self) -> None:
        """Wait until an API is ready. Other parts have no such check."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not is_ready(self.url):
            assert self.is_alive(), self._fleet.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._fleet.log.read_text()[-3000:]
            time.sleep(0.02)


class Fleet:
    """All processes of one service on one database. `hits` counts the deaths by fail point."""

    def __init__(self, directory: Path, database_url: str, **settings: str) -> None:
        self.directory = directory
        self.log = directory / "parts.log"
        self.hits_file = directory / "hits"
        self.members: dict[str, Member] = {}
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("PATH", "HOME", "COV", "LANG"))}
        own = {
            "PYTHONPATH": str(CHECKOUT),
            "DATABASE_URL": database_url,
            "AUTO_CREATE_TABLES": "true",
            "DEMO_GATEWAY": "true",
            "DEMO_GATEWAY_PORT": str(free_port()),
            "LOG_LEVEL": "warning",
        }
        self.environment = kept | QUICK_GATEWAY | own | settings

    def add(self, name: str, part: str, program: Sequence[str] = (), **settings: str) -> Member:
        member = self.members[name] = Member(self, name, part, settings, program)
        return member

    def apis(self) -> list[Member]:
        return [member for member in self.members.values() if member.part == "api"]

    @property
    def hits(self) -> Counter[str]:
        return Counter(self.hits_file.read_text().split()) if self.hits_file.exists() else Counter()

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `payment-ledger` on the same database."""
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *words],
            cwd=self.directory,
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> None:
        """Stop every process in the order of the service, starting with those that take requests."""
        for part in ("api", "worker", "projector", "gateway"):
            for member in self.members.values():
                if member.part == part and member.is_alive():
                    member.stop()

    def kill(self) -> None:
        for member in self.members.values():
            member.kill()


@contextmanager
def fleet_of(fleet: Fleet, parts: Iterable[str]) -> Iterator[Fleet]:
    """Run one process of each part, with the part's name, for the length of a block."""
    try:
        for part in parts:
            fleet.add(part, part).start()
        for api in fleet.apis():
            api.wait_until_ready()
        yield fleet
        fleet.stop()
    finally:
        fleet.kill()


def places_of(part: str) -> list[FailPoint]:
    """The fail points at which a process of a part can die. The API and the worker both have a writer."""
    mine = {"api": ("writer.",), "worker": ("worker.", "writer."), "projector": ("projector.",)}.get(part, ())
    return [name for name in get_args(FailPoint) if name.startswith(mine)] if mine else []
