"""Scenario 11: a million payments on scenario 4's way, and what grows meanwhile: memory, and the gateway's queue.

API and worker are looked at every few seconds. What grows is told by comparing the last quarter of the time with the
second one, each by its median: by then caches are filled, and a leak goes on.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import median
from typing import Any, Final, Self

import psutil
import psycopg
from msgspec import Struct

from ledger.sql import load_statements
from tests.benchmarks.books import ensure_effects
from tests.benchmarks.measures import Measured, Run
from tests.benchmarks.parts import serving
from tests.benchmarks.running import ACCOUNTS, Bench, connected
from tests.benchmarks.settling import settle_on

SQL: Final = load_statements("tests.benchmarks", "million.sql")

LOOK_SECONDS: Final = 2.0
WATCHED: Final = ("api", "worker", "projector")
_MIB: Final = 1024 * 1024


class Look(Struct, frozen=True, kw_only=True):
    """One look: after how many seconds, the memory of each part in MiB, and the size of the queue with its indexes."""

    after_seconds: float
    memory_mib: dict[str, float]
    queue_mib: float


class Looking:
    """Looks again and again, for the length of a block."""

    def __init__(self, processes: Mapping[str, int], connection: psycopg.Connection[Any]) -> None:
        self.looks: list[Look] = []
        self._processes = {name: processes[name] for name in WATCHED}
        self._connection = connection
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looking", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while True:
            with suppress(psutil.NoSuchProcess):  # a part that has died is found out afterwards
                self.looks.append(self._look(time.monotonic() - began))
            if self._over.wait(LOOK_SECONDS):
                return

    def _look(self, after_seconds: float) -> Look:
        row = self._connection.execute(SQL["queue_size"]).fetchone()
        assert row is not None
        memory = {name: psutil.Process(number).memory_info().rss / _MIB for name, number in self._processes.items()}
        return Look(after_seconds=after_seconds, memory_mib=memory, queue_mib=row[0] / _MIB)


def measure(bench: Bench) -> Sequence[Measured]:
    """Make a million payments, or as many as were asked for."""
    with (
        bench.ledger() as url,
        bench.gateway() as (gateway_url, gateway),
        serving(bench.directory, url, gateway_url=gateway_url) as service,
        connected(url) as connection,
    ):
        looking = Looking(service.processes, connection)
        run = settle_on(
            bench,
            url,
            service,
            gateway,
            accounts=ACCOUNTS,
            payments=bench.sizes.large_payments,
            beside=looking,
        )
        ensure_effects(connection, gateway_url)
    looks = looking.looks
    bench.tell(f"{run.value:,.0f} payments a second; {looks[0]} ... {looks[-1]}")
    memory = {name: [look.memory_mib[name] for look in looks] for name in WATCHED}
    queue = [look.queue_mib for look in looks]
    figures = {
        **{f"{name} MiB": max(sizes) for name, sizes in memory.items()},
        **{f"{name} growth": growth(sizes) for name, sizes in memory.items()},
        "queue MiB": max(queue),
        "queue growth": growth(queue),
    }
    return [
        Measured(name="a million settled", runs=[run], makes_payments=True),
        *(Measured(name=name, runs=[Run(value=value, count=run.count)]) for name, value in figures.items()),
    ]


def growth(sizes: Sequence[float]) -> float:
    """Say how much larger the last quarter is than the second one."""
    quarter = max(1, len(sizes) // 4)
    return median(sizes[-quarter:]) / median(sizes[quarter : 2 * quarter] or sizes[:quarter])
