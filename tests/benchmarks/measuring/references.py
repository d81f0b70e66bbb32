"""The references of all ratios: pgbench and the library's stock recorder, on the same Postgres in the same run.

**T** is the transactions a second of pgbench's TPC-B-like script (prepared, 16 clients, 2 threads, scale 20), **L** its
mean latency in milliseconds, and **S** how many aggregates a second the library's own recorder saves from 8 threads.
Each follows a checkpoint and a warm-up that is not counted.

**P** is not used in a ratio. It is the time, in milliseconds, that the interpreter takes for a fixed loop. It
distinguishes machines whose disks are equal, and shows periods in which a machine's cores are slow. pgbench does not
show them, because it waits for the disk.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from msgspec import Struct

from api.runtime.embedded_postgres.programs import program
from ledger.store.statements import load_statements
from tests.benchmarks.measuring.parts import PartFailed, environment
from tests.benchmarks.measuring.server import Server

SQL: Final = load_statements("tests.benchmarks.measuring", "references.sql")

SCALE: Final = 20
CLIENTS: Final = 16
THREADS: Final = 2
WARM_UP_SECONDS: Final = 2
LOOPS: Final = 10


class Reference(Struct, frozen=True, kw_only=True):
    """One measurement of the references."""

    transactions: float
    latency_ms: float
    saves: float
    loop_ms: float


class References:
    """Measures the references, in a database of their own."""

    def __init__(self, server: Server, url: str, *, seconds: int) -> None:
        self._server = server
        self._url = url
        self._seconds = seconds
        _pgbench(url, "-i", "-q", "-s", str(SCALE))
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(SQL["make_schema"])

    def measure(self) -> Reference:
        """Measure each of them once."""
        self._server.checkpoint()
        # All its tables are vacuumed first, so that autovacuum does not run in the middle of a scenario.
        self._tpcb(WARM_UP_SECONDS, "-v")
        found = self._tpcb(self._seconds)
        self._server.checkpoint()
        return Reference(
            transactions=_number(r"^tps = ([0-9.]+)", found),
            latency_ms=_number(r"^latency average = ([0-9.]+) ms", found),
            saves=self._stock_saves(),
            loop_ms=loop_ms(),
        )

    def _tpcb(self, seconds: int, *more: str) -> str:
        words = ("-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(seconds), *more)
        return _pgbench(self._url, *words)

    def _stock_saves(self) -> float:
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "tests.benchmarks.load.stock_recorder",
                self._url,
                str(max(2, self._seconds // 2)),
            ],
            env=environment(),
            cwd=self._server.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PartFailed(done.stderr[-2000:])
        return float(done.stdout)


@contextmanager
def references_on(server: Server, *, seconds: int) -> Iterator[References]:
    """Prepare the references' database, for the length of a block."""
    with server.database("references") as url:
        yield References(server, url, seconds=seconds)


def loop_ms() -> float:
    """Measure the mean time that the interpreter takes for a hundred thousand rounds of an ordinary loop."""
    began = time.perf_counter()
    for _ in range(LOOPS):
        seen: dict[int, tuple[int, str]] = {}
        for number in range(100_000):
            seen[number & 1023] = (number, str(number))
    return 1000 * (time.perf_counter() - began) / LOOPS


def _pgbench(url: str, *words: str) -> str:
    done = subprocess.run(
        [str(Path(program("pgbench"))), *words, url], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PartFailed(f"pgbench ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise PartFailed(f"pgbench did not say what it found: {text[-2000:]}")
    return float(found[1])
