"""Scenario 14: deposits and reads by id with keys required, beside the same without, in pairs.

Two APIs live at once, each on a ledger of its own. They get the same load in turns of two seconds, and every other pair
begins with the other one, so that both meet the same state of the machine. The ratio of each pair counts, and the
median of the pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import Store, load_store
from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan, generate
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import PartFailed, Service, run_command, serving_api, timed_command
from tests.benchmarks.running import CONNECTIONS, Bench, new_run, run_of_requests

ACCOUNTS: Final = 1_000
EVENTS: Final = 50_000
PAIRS: Final = 12
SECONDS: Final = 2.0
WARM_UP_SECONDS: Final = 1.0

OPEN: Final = "no keys"
KEYED: Final = "keys"
DEPOSITS: Final = "POST deposit"
READS: Final = "GET payment"


class Side(Struct, frozen=True, kw_only=True):
    """One of the two services, with the key that it asks for and a file of paths to read."""

    service: Service
    url: str
    bearer: str
    paths: Path


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure both kinds of requests in pairs: rates, ratios of rates, and ratios of the API's CPU a request."""
    with ExitStack() as stack:
        sides = {name: _side(bench, stack, name) for name in (OPEN, KEYED)}
        return [found for kind in (DEPOSITS, READS) for found in _pairs(bench, kind, sides)]


def _side(bench: Bench, stack: ExitStack, name: str) -> Side:
    place = bench.directory / name.replace(" ", "_")
    place.mkdir()
    url = stack.enter_context(bench.ledger(accounts=0))
    loaded = load_store(Database(url), Store(events=EVENTS, accounts=ACCOUNTS))
    timed_command(place, url, "rebuild")
    scopes = ("--scope", "read", "--scope", "payments:write")
    made = run_command(place, Database(url), "keys", "create", "bench", *scopes, "--json")
    if made.returncode != 0:
        raise PartFailed(made.stderr[-2000:])
    paths = place / "paths"
    paths.write_text("".join(f"/api/v1/payments/{number}\n" for number in loaded.payment_ids), "utf-8")
    auth = {"AUTH": "required"} if name == KEYED else {}
    service = stack.enter_context(serving_api(place, url, **auth))
    secret = str(msgspec.json.decode(made.stdout)["key"])
    return Side(service=service, url=url, bearer=secret if name == KEYED else "", paths=paths)


def _pairs(bench: Bench, kind: str, sides: Mapping[str, Side]) -> list[Measured]:
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for pair in range(PAIRS if not bench.quick else 2):
        for name in (OPEN, KEYED) if pair % 2 == 0 else (KEYED, OPEN):
            runs[name].append(_once(bench, kind, sides[name]))
    for side in sides.values():
        side.service.ensure_whole()
    rates = _ratios(runs, lambda run: run.value)
    costs = _ratios(runs, cpu_us)
    for name, made in runs.items():
        bench.tell(f"{kind}, {name}: {', '.join(f'{run.value:,.0f} ({cpu_us(run):.0f} us)' for run in made)}")
    return [
        *(Measured(name=f"{kind}, {name}", runs=made, makes_payments=kind == DEPOSITS) for name, made in runs.items()),
        Measured(name=f"{kind}, rate with keys", runs=rates),
        Measured(name=f"{kind}, CPU with keys", runs=costs),
    ]


def cpu_us(run: Run) -> float:
    """Return the CPU of the API's process for a request, in microseconds."""
    assert run.spent is not None
    return run.spent.cpu_seconds["api"] / run.count * 1e6


def _ratios(runs: Mapping[str, Sequence[Run]], figure: Callable[[Run], float]) -> list[Run]:
    """Return the figure with keys as a share of that without, for each pair."""
    pairs = zip(runs[OPEN], runs[KEYED], strict=True)
    return [Run(value=figure(keyed) / figure(without), count=keyed.count) for without, keyed in pairs]


def _once(bench: Bench, kind: str, side: Side) -> Run:
    """Measure one turn of one service."""
    traffic = (
        Traffic(kind="deposits", run=new_run(), accounts=ACCOUNTS, bearer=side.bearer)
        if kind == DEPOSITS
        else Traffic(kind="paths", run=new_run(), paths_file=str(side.paths), bearer=side.bearer)
    )
    plan = Plan(
        port=side.service.port,
        traffic=traffic,
        connections=CONNECTIONS,
        seconds=SECONDS,
        warm_up_seconds=WARM_UP_SECONDS,
    )
    watch = bench.watch(side.service.processes, side.url)
    return run_of_requests(generate(plan, bench.directory, watch), watch)
