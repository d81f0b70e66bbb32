"""Scenario 15: a scrape of /metrics by a client that keeps its connection, on a store of a million payments."""

import http.client
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import Store, load_store
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import PartFailed, serving_api, timed_command
from tests.benchmarks.running import ACCOUNTS, Bench

EVENTS_A_PAYMENT: Final = 4.5
WARM_UP: Final = 3
SCRAPES: Final = 50
PAUSE_SECONDS: Final = 0.1


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure the least and the median time of a scrape, in milliseconds."""
    with bench.ledger(accounts=0) as url:
        events = round(bench.sizes.large_payments * EVENTS_A_PAYMENT)
        loaded = load_store(Database(url), Store(events=events, accounts=ACCOUNTS))
        timed_command(bench.directory, url, "rebuild")
        bench.server.checkpoint()
        with serving_api(bench.directory, url) as service:
            taken = scrape(service.port)
            service.ensure_whole()
    bench.tell(f"{loaded.payments:,} payments: {min(taken):.2f} ms at the least, {median(taken):.2f} ms in the median")
    figures = {"scrape, least ms": min(taken), "scrape, median ms": median(taken)}
    return [Measured(name=name, runs=[Run(value=value, count=SCRAPES)]) for name, value in figures.items()]


def scrape(port: int) -> list[float]:
    """Scrape some times, and return how long each took, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    taken = []
    for number in range(WARM_UP + SCRAPES):
        began = time.perf_counter()
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        if answer.status != http.client.OK or b"payment_ledger_payments_ended_total" not in body:
            raise PartFailed(f"/metrics answered {answer.status}")
        if number >= WARM_UP:
            taken.append(took * 1_000)
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return taken
