"""Faults of processes: killed, frozen, suspended for longer than every lease, and stopped in order by an operator."""

import signal
import subprocess
import time
from contextlib import suppress

import psutil

from tests.chaos.run import Run

FREEZE_SECONDS = (0.5, 3.0)
SUSPEND_SECONDS = (6.0, 12.0)
"""Longer than a worker's lease (3 s), than a session may hold the head (5 s), and than a projector may be silent."""

MACHINE_SECONDS = (4.0, 8.0)


def kill(run: Run) -> None:
    """Kill any process."""
    with run.lock:
        member = run.dice.choice(list(run.fleet.members.values()))
        if member.is_alive():
            member.kill()
            run.faults[f"{member.part} killed"] += 1


def freeze(run: Run) -> None:
    """Freeze a process of the service for a moment."""
    member = run.dice.choice(run.parts)
    run.freeze(member, seconds=run.dice.uniform(*FREEZE_SECONDS))
    run.faults[f"{member.part} frozen"] += 1


def suspend(run: Run) -> None:
    """Freeze a process of the service until others have taken over everything that it held."""
    member = run.dice.choice(run.parts)
    run.freeze(member, seconds=run.dice.uniform(*SUSPEND_SECONDS))
    run.faults[f"{member.part} suspended beyond its leases"] += 1


def suspend_machine(run: Run) -> None:
    """Freeze the whole service with its database, as a machine that is suspended. The gateway goes on."""
    with run.lock:
        run.continue_frozen()
        stopped = run.server_processes(run.data_dir)
        for member in run.parts:
            member.signal(signal.SIGSTOP)
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        time.sleep(run.dice.uniform(*MACHINE_SECONDS))
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        for member in run.parts:
            member.signal(signal.SIGCONT)
        run.faults["machine suspended"] += 1


def stop_in_order(run: Run) -> None:
    """Stop a process as an operator does; the supervisor starts it again."""
    member = run.dice.choice(run.parts)

    def stop() -> None:
        try:
            if member.is_alive():
                member.stop()
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{member.name} did not stop within {late.timeout:g} s of SIGTERM") from None

    run.beside("an operator", stop)
    run.faults[f"{member.part} stopped by an operator"] += 1
