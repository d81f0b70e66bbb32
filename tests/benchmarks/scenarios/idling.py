"""Scenario 12: the CPU of an idle service: `serve` as `make run` runs it, with its demo gateway."""

import time
from collections.abc import Sequence
from typing import Final

from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import serving
from tests.benchmarks.running import Bench, processes_of

WARM_UP_SECONDS: Final = 5.0
SECONDS: Final = 20.0


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure the share of one core that all processes together use while idle."""
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
