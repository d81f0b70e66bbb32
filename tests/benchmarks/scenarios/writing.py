"""Scenario 1: the writer in process, mixed payments over 10,000 accounts with idempotency keys, in batches of 200.

Then two writers in two processes on the same ledger: they take turns at the head, and each must catch up with the
other's events.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from tests.benchmarks.measuring.measures import Load, Measured, Run
from tests.benchmarks.measuring.parts import PartFailed, environment, stop
from tests.benchmarks.measuring.verification import ensure_payments
from tests.benchmarks.measuring.watch import Watch
from tests.benchmarks.running import ACCOUNTS, Bench, connected, new_run

BATCH: Final = 200
WARM_UP_SECONDS: Final = 3.0
SECONDS: Final = 6.0


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure one writer and two in turn, each time on a new ledger."""
    return bench.in_turn(
        {"one writer": lambda: _write(bench, 1), "two writers": lambda: _write(bench, 2)}, makes_payments=True
    )


def _write(bench: Bench, writers: int) -> Run:
    """Run writers side by side on a new ledger."""
    with bench.ledger() as url:
        loads, watch = _written(bench, url, writers)
        with connected(url) as connection:
            ensure_payments(connection, accepted=sum(load.payments for load in loads))
    return Run(
        value=sum(load.rate for load in loads),
        count=sum(load.requests for load in loads),
        latency_ms_p50=max(load.latency_ms_p50 for load in loads),
        latency_ms_p99=max(load.latency_ms_p99 for load in loads),
        spent=watch.spent,
    )


def _written(bench: Bench, url: str, writers: int) -> tuple[list[Load], Watch]:
    """Let writers run for the measured time, and return their results."""
    words = [url, "", str(ACCOUNTS), str(BATCH), str(WARM_UP_SECONDS), str(bench.seconds(SECONDS))]
    with ExitStack() as stack:
        processes = []
        for _ in range(writers):
            words[1] = new_run()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.benchmarks.load.writer_program", *words],
                cwd=bench.directory,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            stack.callback(stop, process)
            processes.append(process)
        _hear(processes, b"ready\n")
        bench.server.checkpoint()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        _hear(processes, b"measuring\n")
        names = {f"writer {number}": process.pid for number, process in enumerate(processes, start=1)}
        with bench.watch(names, url) as watch:
            _hear(processes, b"measured\n")
        return [msgspec.json.decode(_line(process), type=Load) for process in processes], watch


def _hear(processes: "Sequence[subprocess.Popen[bytes]]", wanted: bytes) -> None:
    for process in processes:
        if (line := _line(process)) != wanted:
            raise PartFailed(f"a writer said {line!r} and not {wanted!r}; what went wrong stands above")


def _line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()
