"""Faults of the database: lost connections, ended sessions, crashes, hangs, and a clock that steps.

While Postgres hangs, clients and readers look at how long they wait: the service promises an answer within 5 s.
"""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import get_args

import httpx
import psutil
import psycopg

from tests.chaos.run import Run
from tests.support.proxies import Cut
from tests.support.services import Client

HANG_SECONDS = (16.0, 20.0)
ANSWER_SECONDS_MAX = 8.0
"""The promised 5 s, and a reserve for a machine that is busy with a campaign."""

STEPS_SECONDS = (10, -10, 3_600, -3_600, 86_400, -86_400)
STEPPED_SECONDS = (4.0, 12.0)

_SESSIONS = (
    "SELECT {what} FROM pg_stat_activity WHERE application_name LIKE 'payment-ledger %' ORDER BY random() LIMIT 1"
)


def lose_connection(run: Run) -> None:
    """Lose a connection around its COMMIT, or at any query. The proxies count those that were lost."""
    run.dice.choice(run.proxies).cut = run.dice.choice(get_args(Cut))


def end_session(run: Run) -> None:
    """Let Postgres end one of the service's sessions."""
    with suppress(psycopg.Error), run.connect() as connection:
        ended = connection.execute(_SESSIONS.format(what="pg_terminate_backend(pid)").encode()).fetchall()
        run.faults["session ended by Postgres"] += len(ended)


def crash_postgres(run: Run) -> None:
    """Kill a postmaster, or a backend of the ledger's, after which Postgres restarts."""
    postmasters = {"Postgres": run.data_dir, "Postgres of the gateway": run.world_dir}
    victims = {
        f"{name} crashed, its postmaster killed": run.server_processes(at)[:1] for name, at in postmasters.items()
    }
    victims["Postgres crashed, its backend killed"] = _backends(run)
    what = run.dice.choice(list(victims))
    for process in victims[what]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            run.faults[what] += 1


def _backends(run: Run) -> "list[psutil.Process]":
    with suppress(psycopg.Error, psutil.NoSuchProcess), run.connect() as connection:
        return [psutil.Process(row[0]) for row in connection.execute(_SESSIONS.format(what="pid").encode())]
    return []


def hang_postgres(run: Run) -> None:
    """Freeze the postmaster and all its backends, and look at how long clients wait."""
    run.continue_frozen()
    stopped = run.server_processes(run.data_dir)
    seconds = run.dice.uniform(*HANG_SECONDS)
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    for payer in run.payers:
        payer.watch_waits()
    with ThreadPoolExecutor() as readers:
        reads = [readers.submit(_read, api.url) for api in run.fleet.apis()]
        time.sleep(seconds)
        waited = [payer.waited_seconds_max for payer in run.payers]
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        waited += [read.result() for read in reads]
    run.faults["Postgres hung"] += 1
    if late := [f"{each:.1f}" for each in waited if each > ANSWER_SECONDS_MAX]:
        run.found.append(f"Postgres hung for {seconds:.1f} s, and requests waited {', '.join(late)} s; 5 are promised")


def _read(url: str) -> float:
    """Return how long the API took to answer a read, or to refuse it."""
    began = time.monotonic()
    with Client(url) as client, suppress(httpx.TransportError):
        client.http.get("/users/1")
    return time.monotonic() - began


def step_clock(run: Run) -> float | None:
    """Step the ledger's clock forward or back; and back to the true time, some seconds later."""
    assert run.clock is not None
    if run.clock.offset_seconds != 0:
        run.clock.step(0)
        return None
    counts = {step: run.faults[_stepped(step)] for step in STEPS_SECONDS}
    step = run.dice.choice([step for step, count in counts.items() if count == min(counts.values())])
    run.clock.step(step)
    run.faults[_stepped(step)] += 1
    return run.dice.uniform(*STEPPED_SECONDS)


def _stepped(seconds: int) -> str:
    return f"clock stepped by {seconds:+d} s, and back"
