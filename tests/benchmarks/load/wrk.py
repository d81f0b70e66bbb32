"""Runs a load generator as a process of its own: `wrk` if it is installed, else `tests.benchmarks.load.load_program`.

Both send the same requests. Only our own program can limit the backlog, keep a steady rate, and follow payments to
their success. The warm-up comes first and does not count.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.measuring.measures import Load
from tests.benchmarks.measuring.parts import PartFailed, environment, stop

LUA: Final = Path(__file__).with_name("wrk.lua")
SELF: Final = "our own program"


class Plan(Struct, frozen=True, kw_only=True):
    """The plan of a generator's run.

    `backlog_max` bounds the payments that are accepted and not settled yet. `rate` sends at a steady rate instead of
    whenever a connection is free. Every `follow_every`th payment is read until it has succeeded. With `payments`, the
    measured time ends after so many were accepted, and not after `seconds`. 0 turns each of these off.
    """

    port: int
    traffic: Traffic
    connections: int = 64
    seconds: float
    warm_up_seconds: float
    backlog_max: int = 0
    rate: float = 0.0
    follow_every: int = 0
    payments: int = 0


def generate(plan: Plan, directory: Path, during: AbstractContextManager[Any], *, wrk: bool = True) -> Load:
    """Run a generator. `during` is entered for the measured time only. Raises PartFailed if the generator fails."""
    is_plain = not (plan.backlog_max or plan.rate or plan.follow_every)
    if wrk and is_plain and (program := shutil.which("wrk")) is not None:
        return _run_wrk(program, plan, directory, during)
    return _run_own(plan, directory, during)


def _run_wrk(program: str, plan: Plan, directory: Path, during: AbstractContextManager[Any]) -> Load:
    warmed, _ = _wrk(program, plan, directory, seconds=plan.warm_up_seconds, run=f"{plan.traffic.run}-w")
    with during:
        found, cpu_seconds = _wrk(program, plan, directory, seconds=plan.seconds, run=plan.traffic.run)
    if warmed["failures"]:
        raise PartFailed(f"wrk was answered badly while it warmed up: {warmed}")
    answered = warmed["requests"] + found["requests"] - found["failures"]
    return Load(
        program="wrk",
        requests=found["requests"] - found["failures"],
        failures=found["failures"],
        seconds=found["seconds"],
        cpu_seconds=cpu_seconds,
        latency_ms_p50=found["p50"],
        latency_ms_p99=found["p99"],
        latency_ms_max=found["max"],
        payments=answered * plan.traffic.payments_a_request,
    )


def _wrk(program: str, plan: Plan, directory: Path, *, seconds: float, run: str) -> tuple[dict[str, Any], float]:
    """Run wrk to its end. Returns the output of its script, and its CPU."""
    traffic = plan.traffic
    process = subprocess.Popen(
        [
            program,
            *("-t1", f"-c{plan.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(LUA)),
            *(f"http://127.0.0.1:{plan.port}", "--", traffic.kind, run, str(traffic.accounts)),
            *(str(traffic.batch_size), traffic.paths_file or "-", traffic.bearer or "-"),
        ],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            stop(process)
        elif process.stdout is not None:
            process.stdout.close()
    lines = [line for line in output.decode().splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        raise PartFailed(f"wrk ended with {process.returncode}: {output.decode()[-1000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found, usage.ru_utime + usage.ru_stime


def _run_own(plan: Plan, directory: Path, during: AbstractContextManager[Any]) -> Load:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.benchmarks.load.load_program"],
        cwd=directory,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(plan) + b"\n")
        process.stdin.flush()
        _expect(process.stdout.readline(), b"measuring\n")
        with during:
            _expect(process.stdout.readline(), b"measured\n")
        answer = process.stdout.readline()
        if process.wait() != 0 or not answer:
            raise PartFailed("the load generator ended early; what it said stands above")
        return msgspec.json.decode(answer, type=Load)
    finally:
        stop(process)


def _expect(line: bytes, wanted: bytes) -> None:
    if line != wanted:
        raise PartFailed(f"the load generator said {line!r} and not {wanted!r}; what went wrong stands above")
