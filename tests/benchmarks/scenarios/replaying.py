"""Scenarios 8 and 9: a rebuild of the read models, and a verification of the seals, over a log of 1,000,000 events.

Both run the real commands, and the time to start them counts. The store is created by `store_loader` and has no read
models yet, so the rebuild starts from nothing. Afterwards the read models must be at the log's end, and the audit
compares all of them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import Store, load_store
from tests.benchmarks.measuring.measures import Measured, Run
from tests.benchmarks.measuring.parts import timed_command
from tests.benchmarks.measuring.verification import wait_until_settled
from tests.benchmarks.running import Bench, connected

ACCOUNTS: Final = 10_000
COMMAND: Final = "command"


def measure(bench: Bench) -> Sequence[Measured]:
    """Measure both on the same store."""
    with bench.ledger(accounts=0) as url:
        loaded = load_store(Database(url), Store(events=bench.sizes.rebuilt_events, accounts=ACCOUNTS))
        bench.tell(f"loaded {loaded.events:,} events, {loaded.events_a_second:,.0f} a second")

        def once(*words: str) -> Run:
            bench.server.checkpoint()
            with bench.watch({}, url) as watch:
                timed = timed_command(bench.directory, url, *words)
            assert watch.spent is not None
            elsewhere = watch.spent.elsewhere_cores - timed.cpu_seconds / watch.spent.seconds
            spent = msgspec.structs.replace(
                watch.spent,
                cpu_seconds=watch.spent.cpu_seconds | {COMMAND: timed.cpu_seconds},
                memory_mib={COMMAND: timed.memory_mib},
                elsewhere_cores=max(0.0, elsewhere),
            )
            return Run(value=loaded.events / timed.seconds, count=loaded.events, spent=spent)

        seals = bench.repeat("verify seals", lambda: once("audit", "verify", "--seals-only", "--json"))
        rebuilt = bench.repeat("rebuild", lambda: once("rebuild", "--json"), repeats=1)
        with connected(url) as connection:
            wait_until_settled(connection, seconds=0)
        return [rebuilt, seals]
