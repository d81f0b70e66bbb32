"""Scenario 13: reads by id and pages of 50 from 64 connections, on a ledger of some thousand settled payments."""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import Store, load_store
from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import Service, serving
from tests.benchmarks.measuring.verification import read_json, wait_until_settled
from tests.benchmarks.running import CONNECTIONS, Bench, connected, new_run, processes_of, run_of_requests

ACCOUNTS: Final = 200
EVENTS: Final = 100_000
"""About a hundred payments an account, so that every page of 50 is full."""

PAGE: Final = 50
WARM_UP_SECONDS: Final = 2.0
SECONDS: Final = 5.0


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure the three kinds of reads."""
    with (
        bench.ledger(accounts=0) as url,
        bench.gateway() as (gateway_url, _),
        connected(url) as connection,
    ):
        loaded = load_store(Database(url), Store(events=EVENTS, accounts=ACCOUNTS))
        with serving(bench.directory, url, gateway_url=gateway_url) as service:
            wait_until_settled(connection)
            dice = random.Random(1)
            users = [dice.randint(1, ACCOUNTS) for _ in range(1_000)]
            page = read_json(f"{service.url}/api/v1/users/1/transactions?limit={PAGE}")
            assert len(page["items"]) == PAGE
            routes = {
                "GET payment": [f"/api/v1/payments/{number}" for number in loaded.payment_ids],
                "GET user": [f"/api/v1/users/{number}" for number in users],
                "GET page of 50": [f"/api/v1/users/{number}/transactions?limit={PAGE}" for number in users],
            }
            found = [
                bench.repeat(name, partial(read_once, bench, service, url, paths)) for name, paths in routes.items()
            ]
            service.ensure_whole()
        return found


def read_once(bench: Bench, service: Service, url: str, paths: Sequence[str], *, connections: int = CONNECTIONS) -> Run:
    """Measure reads of some paths, drawn at random."""
    plan = Plan(
        port=service.port,
        traffic=Traffic(kind="paths", run=new_run(), paths_file=str(_listed(bench.directory, paths))),
        connections=connections,
        seconds=bench.seconds(SECONDS),
        warm_up_seconds=WARM_UP_SECONDS,
    )
    watch = bench.watch(processes_of(service), url)
    return run_of_requests(bench.load(plan, watch), watch)


def _listed(directory: Path, paths: Sequence[str]) -> Path:
    listed = directory / "paths"
    listed.write_text("".join(f"{path}\n" for path in paths), "utf-8")
    return listed
