"""Scenario 11: a million payments as in scenario 4, and the growth of memory and of the gateway queue.

API and worker are sampled every few seconds. Growth is the last quarter of the time compared with the second one, each
by its median. By then caches are full, so remaining growth is a leak.
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

from ledger.store.statements import load_statements
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import serving
from tests.benchmarks.measuring.verification import ensure_effects
from tests.benchmarks.running import ACCOUNTS, Bench, connected
from tests.benchmarks.scenarios.settling import settle_on

SQL: Final = load_statements("tests.benchmarks.scenarios", "million.sql")

LOOK_SECONDS: Final = 2.0
WATCHED: Final = ("api", "worker", "projector")
_MIB: Final = 1024 * 1024


class Look(Struct, frozen=True, kw_only=True):
    """One sample: the seconds so far, the memory of each part in MiB, and the size of the queue with its indexes."""

    after_seconds: float
    memory_mib: dict[str, float]
    queue_mib: float


class Looking:
    """Takes samples for the length of a block."""

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
            with suppress(psutil.NoSuchProcess):  # a part that has died is noticed afterwards
                self.looks.append(self._look(time.monotonic() - began))
            if self._over.wait(LOOK_SECONDS):
                return

    def _look(self, after_seconds: float) -> Look:
        row = self._connection.execute(SQL["queue_size"]).fetchone()
        assert row is not None
        memory = {name: psutil.Process(number).memory_info().rss / _MIB for name, number in self._processes.items()}
        return Look(after_seconds=after_seconds, memory_mib=memory, queue_mib=row[0] / _MIB)


def measure(bench: Bench) -> Sequence[Measured]:
    """Make a million payments, or as many as the option says."""
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
    """Return the ratio of the last quarter to the second one."""
    quarter = max(1, len(sizes) // 4)
    return median(sizes[-quarter:]) / median(sizes[quarter : 2 * quarter] or sizes[:quarter])
