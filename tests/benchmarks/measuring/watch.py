"""The resources used in a period: CPU and peak memory of each process, WAL, and growth of the database.

Postgres counts as its postmaster with all processes below it. The CPU of those that have ended is included in the
postmaster's.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

import psutil
import psycopg

from ledger.store.statements import load_statements
from tests.benchmarks.measuring.measures import Spent

SQL: Final = load_statements("tests.benchmarks.measuring", "watch.sql")

POSTGRES: Final = "postgres"
LOOK_SECONDS: Final = 0.5
_MIB: Final = 1024 * 1024


class Watch:
    """Watches processes and a database for the length of a block. `spent` is known at its end."""

    def __init__(self, processes: Mapping[str, int], *, postmaster: int, url: str) -> None:
        self.spent: Spent | None = None
        self._processes = dict(processes)
        self._postmaster = postmaster
        self._connection = psycopg.connect(url, autocommit=True)
        self._peaks: dict[str, float] = {}
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, name="watch", daemon=True)
        self._before: tuple[dict[str, float], int, int] = ({}, 0, 0)
        self._busy_before = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._before = self._state()
        self._busy_before = busy_seconds()
        self._began = time.monotonic()
        self._looking.start()
        return self

    def __exit__(self, *_error: object) -> None:
        seconds = time.monotonic() - self._began
        self._over.set()
        busy = busy_seconds() - self._busy_before
        cpu, wal, disk = self._state()
        self._looking.join()
        self._peak()
        cpu_before, wal_before, disk_before = self._before
        self._connection.close()
        taken = {name: cpu[name] - cpu_before[name] for name in cpu if name in cpu_before}
        self.spent = Spent(
            seconds=seconds,
            cpu_seconds=taken,
            memory_mib=self._peaks,
            wal_bytes=wal - wal_before,
            disk_bytes=disk - disk_before,
            elsewhere_cores=max(0.0, busy - sum(taken.values())) / seconds,
        )

    def _state(self) -> tuple[dict[str, float], int, int]:
        cpu = {name: cpu_seconds(number) for name, number in self._processes.items()}
        cpu[POSTGRES] = cpu_seconds_of_tree(self._postmaster)
        row = self._connection.execute(SQL["read_sizes"]).fetchone()
        assert row is not None
        return cpu, int(row[0]), int(row[1])

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._peak()

    def _peak(self) -> None:
        for name, number in self._processes.items():
            with suppress(psutil.Error):
                seen = psutil.Process(number).memory_info().rss / _MIB
                self._peaks[name] = max(seen, self._peaks.get(name, 0.0))


def busy_seconds() -> float:
    """The CPU seconds that all cores of the machine have spent, for any process."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def cpu_seconds(number: int) -> float:
    """The CPU seconds of a process. Raises psutil.NoSuchProcess if it has ended, which no part should."""
    times = psutil.Process(number).cpu_times()
    return float(times.user + times.system)


def cpu_seconds_of_tree(number: int) -> float:
    """The CPU seconds of a process, of its children, and of those of them that have ended."""
    root = psutil.Process(number)
    own = root.cpu_times()
    total = float(own.user + own.system + own.children_user + own.children_system)
    for child in root.children(recursive=True):
        with suppress(psutil.Error):
            total += cpu_seconds(child.pid)
    return total
