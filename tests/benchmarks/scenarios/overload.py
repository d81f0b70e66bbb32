"""Scenarios 16 and 17: many slow clients beside a steady load, and three times the load that one API process can take.

Both measure an API at 200 payments a second in calm first, and compare with that.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.benchmarks.load.flood import FloodPlan, FloodResult, flood
from tests.benchmarks.load.traffic import Traffic
from tests.benchmarks.load.wrk import Plan
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import PartFailed, Service, environment, serving_api, started, wait_for
from tests.benchmarks.measuring.verification import count_payments, ensure_payments
from tests.benchmarks.running import ACCOUNTS, CONNECTIONS, Bench, connected, new_run, processes_of

SLOW_CLIENTS: Final = 1_000
RATE: Final = 200.0
STEADY_SECONDS: Final = 15.0
FLOOD_SECONDS: Final = 60.0
FLOOD_CONNECTIONS: Final = 1_500
TIMES: Final = 3
BACK_TO_NORMAL: Final = 3.0
"""The service is back to normal from the second on from which each p99 is within so many times the calm one."""


def measure_slow_clients(bench: Bench) -> Sequence[Measured]:
    """Scenario 16."""
    with bench.ledger() as url, serving_api(bench.directory, url) as service, all_kept(url, service) as answered:
        answered(steady(bench, service))  # warms up
        calm = answered(steady(bench, service))
        with slow_clients(bench, service):
            beside = answered(steady(bench, service))
        bench.tell(f"p99 calm {calm.accepted.p99:.1f} ms, beside slow clients {beside.accepted.p99:.1f} ms")
    return [value("p99 in calm", calm.accepted.p99), value("p99 beside 1,000 slow clients", beside.accepted.p99)]


def measure_flood(bench: Bench) -> Sequence[Measured]:
    """Scenario 17."""
    with bench.ledger() as url, serving_api(bench.directory, url) as service, all_kept(url, service) as answered:
        answered(steady(bench, service))  # warms up
        calm = answered(steady(bench, service))
        bearable = most_at_once(bench, service, answered)
        seconds = bench.seconds(FLOOD_SECONDS)
        traffic = Traffic(kind="deposits", accounts=ACCOUNTS, run=new_run())
        plan = FloodPlan(
            port=service.port,
            traffic=traffic,
            rate=TIMES * bearable,
            seconds=seconds,
            connections_max=FLOOD_CONNECTIONS,
        )
        flooded = answered(flood(plan, bench.directory))
        after = answered(steady(bench, service))
        service.ensure_whole()
    refused = flooded.refused
    if others := refused.keys() - {429, 503}:
        raise PartFailed(f"refusals are 429 or 503, and there were {sorted(others)}")
    offered = flooded.sent / flooded.seconds
    bench.tell(
        f"bearable {bearable:,.0f}/s, offered {offered:,.0f}/s, accepted {flooded.accepted.count / seconds:,.0f}/s,"
        f" refused {sum(each.count for each in refused.values()) / seconds:,.0f}/s, unsent {flooded.unsent},"
        f" p99 accepted {flooded.accepted.p99:,.0f} ms, the longest {flooded.accepted.longest:,.0f} ms"
    )
    return [
        value("bearable load", bearable),
        value("offered load", offered),
        value("accepted under three times the load, p99 ms", flooded.accepted.p99),
        value("refused under three times the load, longest ms", max((a.longest for a in refused.values()), default=0)),
        value("unanswered under three times the load", flooded.unanswered),
        value("seconds until p99 is normal", seconds_until_normal(after, calm)),
    ]


def value(name: str, found: float) -> Measured:
    """Make a measurement of one figure."""
    return Measured(name=name, runs=[Run(value=found, count=1)])


def steady(bench: Bench, service: Service) -> FloodResult:
    """Send 200 payments a second. Raises PartFailed unless all of them are accepted."""
    plan = FloodPlan(
        port=service.port,
        traffic=Traffic(kind="deposits", accounts=ACCOUNTS, run=new_run()),
        rate=RATE,
        seconds=bench.seconds(STEADY_SECONDS),
        connections_max=CONNECTIONS,
    )
    result = flood(plan, bench.directory)
    if result.refused or result.unanswered or result.unsent or result.accepted.count != result.sent:
        raise PartFailed(f"a steady load was not accepted: {result}")
    return result


def most_at_once(bench: Bench, service: Service, answered: "Answered") -> float:
    """Measure how many payments a second the API takes from 64 connections that wait for their answers."""
    traffic = Traffic(kind="deposits", accounts=ACCOUNTS, run=new_run())
    plan = Plan(port=service.port, traffic=traffic, seconds=bench.seconds(8), warm_up_seconds=3)
    load = bench.load(plan, bench.watch(processes_of(service), answered.url))
    answered.accepted += load.payments
    answered.unheard += 2 * CONNECTIONS  # wrk waits for no answer at its end
    return load.rate


def seconds_until_normal(after: FloodResult, calm: FloodResult) -> float:
    """Return the first second from which each p99 is near the calm one."""
    limit = BACK_TO_NORMAL * calm.accepted.p99
    late = [second for second, p99 in enumerate(after.accepted.p99_by_second, start=1) if p99 > limit]
    return float(max(late, default=0))


class Answered:
    """Counts the payments that were acknowledged."""

    def __init__(self, url: str, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        self.url = url
        self.accepted = count_payments(connection)
        self.unheard = 0

    def __call__(self, result: FloodResult) -> FloodResult:
        """Count those of a run."""
        self.accepted += result.accepted.count
        self.unheard += result.unanswered
        return result


@contextmanager
def all_kept(url: str, service: Service) -> Iterator[Answered]:
    """At the end, check that every acknowledged payment is stored, and that no part has died."""
    with connected(url) as connection:
        answered = Answered(url, connection)
        yield answered
        service.ensure_whole()
        ensure_payments(connection, accepted=answered.accepted, unheard=answered.unheard)


@contextmanager
def slow_clients(bench: Bench, service: Service) -> Iterator[None]:
    """Keep 1,000 slow connections open."""
    words = [sys.executable, "-P", "-m", "tests.benchmarks.load.slow_clients", str(service.port), str(SLOW_CLIENTS)]
    with started(bench.directory, "slow-clients", words, environment()) as process:
        wait_for(process, bench.directory / "slow-clients.log", lambda log: b"ready" in log)
        yield
