"""Scenario 12: what the service takes while nothing happens: `serve` as `make run` runs it, with its demo gateway."""

import time
from collections.abc import Sequence
from typing import Final

from tests.benchmarks.measures import Measured, Run
from tests.benchmarks.parts import serving
from tests.benchmarks.running import Bench, processes_of

WARM_UP_SECONDS: Final = 5.0
SECONDS: Final = 20.0


def measure(bench: Bench) -> Sequence[Measured]:
    """Do nothing, and see what it takes: the share of one core that all processes took together."""
    with bench.ledger() as url, serving(bench.directory, url, gateway_url=None) as service:
        bench.server.checkpoint()
        time.sleep(WARM_UP_SECONDS)
        with bench.watch(processes_of(service), url) as watch:
            time.sleep(bench.seconds(SECONDS))
        service.ensure_whole()
        spent = watch.spent
        assert spent is not None
        run = Run(value=sum(spent.cpu_seconds.values()) / spent.seconds, count=round(spent.seconds), spent=spent)
        bench.tell(f"idle: {run.value:.2%} of a core")
        return [Measured(name="idle", runs=[run])]
