"""What scenarios share: the run's Postgres, ledgers to measure on, the instant gateway, and how long things take."""

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from msgspec import Struct

from ledger.commands import OpenAccount
from ledger.database import Database
from ledger.writer import Writer
from tests.benchmarks.books import verify
from tests.benchmarks.generator import ensure_not_the_bottleneck
from tests.benchmarks.instant_gateway import Manners
from tests.benchmarks.load import Plan, generate
from tests.benchmarks.measures import Load, Measured, Run, Spent
from tests.benchmarks.parts import PartFailed, Service, environment, run_command, started, wait_for
from tests.benchmarks.server import Server
from tests.benchmarks.watch import Watch
from tests.ports import free_port

CONNECTIONS: Final = 64
ACCOUNTS: Final = 10_000
OPENING: Final = Decimal(1_000_000_000)
"""What each account begins with: no withdrawal of any length of run is to be refused."""

GATEWAY: Final = "gateway"
LOAD: Final = "load"


class Bench:
    """One run of the benchmark: where it happens, how often what is short is repeated, whether it is to be quick."""

    def __init__(
        self, server: Server, *, repeats: int, quick: bool, sizes: "Sizes", tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.server = server
        self.repeats = repeats
        self.quick = quick
        self.sizes = sizes
        self.tell = tell

    @property
    def directory(self) -> Path:
        """Where files of the run go."""
        return self.server.directory

    def seconds(self, usual: float, *, quick: float | None = None) -> float:
        """How long something is to take: as usual, or in a quick run half of it."""
        return (usual / 2 if quick is None else quick) if self.quick else usual

    def watch(self, processes: dict[str, int], url: str) -> Watch:
        """Watch some processes and a database."""
        return Watch(processes, postmaster=self.server.postmaster, url=url)

    @contextmanager
    def ledger(self, *, accounts: int = ACCOUNTS, verified: bool = True) -> Iterator[str]:
        """Make a ledger in a database of its own, verify its books at the end, and drop it; its URL.

        Who makes it not `verified` does that himself.
        """
        with self.server.database("ledger") as url:
            migrate(self.directory, url)
            open_accounts(Database(url), accounts)
            yield url
            if verified:
                verify(self.directory, Database(url))

    @contextmanager
    def gateway(self, manners: Manners | None = None, *, place: Path | None = None) -> Iterator[tuple[str, int]]:
        """Run the instant gateway; its URL, and the number of its process. Its log is in `place`, if given."""
        place = self.directory if place is None else place
        port = free_port()
        words = msgspec.json.encode(msgspec.structs.replace(manners or Manners(), port=port)).decode()
        command = [sys.executable, "-P", "-m", "tests.benchmarks.instant_gateway", words]
        with started(place, GATEWAY, command, environment()) as process:
            wait_for(process, place / f"{GATEWAY}.log", lambda log: b"ready" in log)
            yield f"http://127.0.0.1:{port}", process.pid

    def load(self, plan: Plan, watch: Any, *, wrk: bool = True) -> Load:
        """Generate load from a checkpoint on. Raises GeneratorTooSlow when the generator was the bottleneck."""
        self.server.checkpoint()
        load = generate(plan, self.directory, watch, wrk=wrk)
        ensure_not_the_bottleneck(load)
        return load

    def repeat(self, name: str, once: Callable[[], Run], *, repeats: int | None = None, **facts: bool) -> Measured:
        """Measure several times."""
        (measured,) = self.in_turn({name: once}, repeats=repeats, **facts)
        return measured

    def in_turn(
        self, measurements: Mapping[str, Callable[[], Run]], *, repeats: int | None = None, **facts: bool
    ) -> list[Measured]:
        """Measure what is held against each other one after the other, several times.

        So all meet the same minutes of the machine, whose cores may be half as fast a few minutes later.
        """
        runs: dict[str, list[Run]] = {name: [] for name in measurements}
        for number in range(repeats or self.repeats):
            for name, once in measurements.items():
                runs[name].append(run := once())
                self.tell(f"{name}, {number + 1}: {run.value:,.0f}")
        return [Measured(name=name, runs=measured, **facts) for name, measured in runs.items()]


class Sizes(Struct, frozen=True, kw_only=True):
    """How large the stores and runs are whose size is an option."""

    rebuilt_events: int = 1_000_000
    large_events: int = 10_000_000
    large_payments: int = 1_000_000


class Scenario(Struct, frozen=True, kw_only=True):
    """A row of the table, or two on the same store: how it is measured, and what it needs in the same run."""

    numbers: tuple[int, ...]
    title: str
    measure: Callable[[Bench], Sequence[Measured]]
    needs: tuple[int, ...] = ()


def new_run() -> str:
    """Give a name for a run that no other has, for its keys to begin with."""
    return secrets.token_hex(4)


def with_load(spent: Spent | None, load: Load) -> Spent | None:
    """Add what the load took to what everybody else did."""
    if spent is None:
        return None
    return msgspec.structs.replace(
        spent,
        cpu_seconds=spent.cpu_seconds | {LOAD: load.cpu_seconds},
        elsewhere_cores=max(0.0, spent.elsewhere_cores - load.cpu_seconds / spent.seconds),
    )


def run_of_requests(load: Load, watch: Watch, *, payments_a_request: int = 1) -> Run:
    """Make a run of what a load generator found, counted in payments where a request makes several."""
    if load.failures:
        raise PartFailed(f"{load.failures} requests were answered badly; the log has more")
    return Run(
        value=load.rate * payments_a_request,
        count=load.requests * payments_a_request,
        latency_ms_p50=load.latency_ms_p50,
        latency_ms_p99=load.latency_ms_p99,
        spent=with_load(watch.spent, load),
        load=load,
    )


def migrate(directory: Path, url: str) -> None:
    """Bring a database's schema up to date by the real command."""
    done = run_command(directory, Database(url), "migrate")
    if done.returncode != 0:
        raise PartFailed(done.stderr[-2000:])


def open_accounts(database: Database, count: int) -> None:
    """Open accounts 1 to `count`."""
    writer = Writer(database, queue_max=count + 1)
    writer.start()
    opening = [
        writer.submit(OpenAccount(command_id="open", opening=OPENING, currency="USD", caller="bench"))
        for _ in range(count)
    ]
    for future in opening:
        future.result(60)
    writer.stop()


@contextmanager
def connected(url: str) -> "Iterator[psycopg.Connection[Any]]":
    """Read what a ledger holds, as its owner."""
    connection = Database(url).connect(application="payment-ledger bench", owner=True)
    try:
        yield connection
    finally:
        connection.close()


def processes_of(service: Service, gateway: int | None = None) -> dict[str, int]:
    """Name the processes that take part."""
    return service.processes | ({} if gateway is None else {GATEWAY: gateway})
