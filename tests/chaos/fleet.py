"""The parts of one service as processes of their own, to be killed, frozen and started again one by one."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

import psutil

from ledger.fail_points import FailPoint
from tests.ports import free_port
from tests.services import CHECKOUT, QUICK_GATEWAY, is_ready

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


class Member:
    """One process of a part, with its settings; started again it keeps its port."""

    def __init__(self, fleet: "Fleet", name: str, part: str, settings: dict[str, str]) -> None:
        self.name = name
        self.part = part
        self.port = free_port() if part == "api" else 0
        self._fleet = fleet
        self._settings = settings | ({"PORT": str(self.port)} if self.port else {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *armed: str) -> None:
        """Start it; `armed` are the options of `tests.chaos.armed_part`, without which it is as it is delivered."""
        words = ["tests.chaos.armed_part", "--hits", str(self._fleet.hits_file), *armed] if armed else ["api.cli"]
        with self._fleet.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words, self.part],
                cwd=self._fleet.directory,
                env=self._fleet.environment | self._settings,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Kill, freeze (SIGSTOP) or thaw (SIGCONT) it."""
        if self.is_alive() and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS_MAX)

    def stop(self) -> int:
        """Ask it to stop and wait; its exit code."""
        assert self._process is not None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS_MAX)

    def wait_until_hit(self) -> None:
        """Wait until it has got to the fail point at which it freezes."""
        deadline = time.monotonic() + START_SECONDS_MAX
        assert self._process is not None
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, self._fleet.log.read_text()[-3000:]
            time.sleep(0.01)

    def wait_until_dead(self) -> int:
        assert self._process is not None
        return self._process.wait(START_SECONDS_MAX)

    def wait_until_ready(self) -> None:
        """Wait until an API serves; other parts are known by what they do."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not is_ready(self.url):
            assert self.is_alive(), self._fleet.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._fleet.log.read_text()[-3000:]
            time.sleep(0.02)


class Fleet:
    """All processes of one service on one database. `hits` counts the fail points at which one of them has died."""

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
            "DEMO_GATEWAY_PORT": str(free_port()),
            "LOG_LEVEL": "warning",
        }
        self.environment = kept | QUICK_GATEWAY | own | settings

    def add(self, name: str, part: str, **settings: str) -> Member:
        member = self.members[name] = Member(self, name, part, settings)
        return member

    def apis(self) -> list[Member]:
        return [member for member in self.members.values() if member.part == "api"]

    @property
    def hits(self) -> Counter[str]:
        return Counter(self.hits_file.read_text().split()) if self.hits_file.exists() else Counter()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `payment-ledger` on the same database."""
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *words],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> None:
        """Stop every process in the order of the service: what takes requests first."""
        for part in ("api", "worker", "projector", "gateway"):
            for member in self.members.values():
                if member.part == part and member.is_alive():
                    member.stop()

    def kill(self) -> None:
        for member in self.members.values():
            member.kill()


@contextmanager
def fleet_of(fleet: Fleet, parts: Iterable[str]) -> Iterator[Fleet]:
    """Run one member of each part, named as it, for the length of a block."""
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
    """The fail points at which a process of a part can die: the API and the worker both have a writer."""
    mine = {"api": ("writer.",), "worker": ("worker.", "writer."), "projector": ("projector.",)}.get(part, ())
    return [name for name in get_args(FailPoint) if name.startswith(mine)] if mine else []
