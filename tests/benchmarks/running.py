"""The common parts of scenarios: the run's Postgres, ledgers to measure on, the instant gateway, and durations."""

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

from ledger.domain.commands import OpenAccount
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.benchmarks.load.generator import ensure_not_the_bottleneck
from tests.benchmarks.load.instant_gateway import InstantProfile
from tests.benchmarks.load.wrk import Plan, generate
from tests.benchmarks.measuring.measures import Load, Measured, Run, Spent
from tests.benchmarks.measuring.parts import PartFailed, Service, environment, run_command, started, wait_for
from tests.benchmarks.measuring.server import Server
from tests.benchmarks.measuring.verification import verify
from tests.benchmarks.measuring.watch import Watch
from tests.support.ports import free_port

CONNECTIONS: Final = 64
ACCOUNTS: Final = 10_000
OPENING: Final = Decimal(1_000_000_000)
"""The opening balance of each account, so high that no withdrawal of a run is refused."""

GATEWAY: Final = "gateway"
LOAD: Final = "load"


class Bench:
    """One run of the benchmark: its place, the number of repetitions, and whether it is quick."""

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
        """The directory for the run's files."""
        return self.server.directory

    def seconds(self, usual: float, *, quick: float | None = None) -> float:
        """Return a duration in seconds; a quick run takes half of it."""
        return (usual / 2 if quick is None else quick) if self.quick else usual

    def watch(self, processes: dict[str, int], url: str) -> Watch:
        """Watch some processes and a database."""
        return Watch(processes, postmaster=self.server.postmaster, url=url)

    @contextmanager
    def ledger(self, *, accounts: int = ACCOUNTS, verified: bool = True) -> Iterator[str]:
        """Create a ledger in a database of its own, verify it at the end, and drop it. Yields its URL.

        A caller that passes `verified=False` must verify the ledger itself.
        """
        with self.server.database("ledger") as url:
            migrate(self.directory, url)
            open_accounts(Database(url), accounts)
            yield url
            if verified:
                verify(self.directory, Database(url))

    @contextmanager
    def gateway(self, profile: InstantProfile | None = None, *, place: Path | None = None) -> Iterator[tuple[str, int]]:
        """Run the instant gateway. Yields its URL and its process id. Its log goes to `place`, if given."""
        place = self.directory if place is None else place
        port = free_port()
        words = msgspec.json.encode(msgspec.structs.replace(profile or InstantProfile(), port=port)).decode()
        command = [sys.executable, "-P", "-m", "tests.benchmarks.load.instant_gateway", words]
        with started(place, GATEWAY, command, environment()) as process:
            wait_for(process, place / f"{GATEWAY}.log", lambda log: b"ready" in log)
            yield f"http://127.0.0.1:{port}", process.pid

    def load(self, plan: Plan, watch: Any, *, wrk: bool = True) -> Load:
        """Write a checkpoint, then generate load. Raises GeneratorTooSlow if the generator was the bottleneck."""
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
        """Run measurements that are compared with each other in turn, several times.

        This way all of them meet the same state of the machine, whose cores may be half as fast a few minutes later.
        """
        runs: dict[str, list[Run]] = {name: [] for name in measurements}
        for number in range(repeats or self.repeats):
            for name, once in measurements.items():
                runs[name].append(run := once())
                self.tell(f"{name}, {number + 1}: {run.value:,.0f}")
        return [Measured(name=name, runs=measured, **facts) for name, measured in runs.items()]


class Sizes(Struct, frozen=True, kw_only=True):
    """The sizes of stores and runs that are options."""

    rebuilt_events: int = 1_000_000
    large_events: int = 10_000_000
    large_payments: int = 1_000_000


class Scenario(Struct, frozen=True, kw_only=True):
    """A row of the table, or two on the same store: its measurement, and the scenarios that it needs in its run."""

    numbers: tuple[int, ...]
    title: str
    measure: Callable[[Bench], Sequence[Measured]]
    needs: tuple[int, ...] = ()


def new_run() -> str:
    """Return a new name for a run, which all its keys start with."""
    return secrets.token_hex(4)


def with_load(spent: Spent | None, load: Load) -> Spent | None:
    """Add the load generator's CPU to that of the other processes."""
    if spent is None:
        return None
    return msgspec.structs.replace(
        spent,
        cpu_seconds=spent.cpu_seconds | {LOAD: load.cpu_seconds},
        elsewhere_cores=max(0.0, spent.elsewhere_cores - load.cpu_seconds / spent.seconds),
    )


def run_of_requests(load: Load, watch: Watch, *, payments_a_request: int = 1) -> Run:
    """Convert a load generator's result to a run, counted in payments if a request makes several."""
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
    """Open a connection as the ledger's owner."""
    connection = Database(url).connect(application="payment-ledger bench", owner=True)
    try:
        yield connection
    finally:
        connection.close()


def processes_of(service: Service, gateway: int | None = None) -> dict[str, int]:
    """The ids of the processes that take part, by name."""
    return service.processes | ({} if gateway is None else {GATEWAY: gateway})
