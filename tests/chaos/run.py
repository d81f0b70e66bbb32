"""One run of the campaign: its processes, its two databases, its clients, and its counts.

The ledger and the gateway's book have a Postgres each, because the world outside is not restored with the ledger, and
its clock is not stepped. A supervisor's thread restarts everything that has died. Faults change the run through its
methods; `lock` is held while processes or databases are exchanged, so that nobody restarts them in between.
"""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psutil
import psycopg
from msgspec import to_builtins
from psycopg.conninfo import conninfo_to_dict

from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.fail_points import FailPoint
from processors.simulators.chaos.scenario import ChaosProfile
from tests.chaos.fleet import Fleet, Member, places_of
from tests.chaos.payer import Payer
from tests.support.gateways.chaos_process import PROGRAM
from tests.support.proxies import Cut, proxy_before
from tests.support.servers.clusters import cluster_of
from tests.support.servers.stepped_clock import SteppedClock, find_library, remove_leftovers

REACHED_MAX, REACHED_SOON_MAX = 150, 10
"""A process dies at its fail point after reaching it at most this often; sooner where nobody has died yet."""

BACKGROUND_SECONDS_MAX = 180.0
DEATHS_SECONDS_MAX = 180.0
SETTLE_SECONDS: Final = 1.0
SETTINGS: Final = {
    "GATEWAY_TIMEOUT_SECONDS": "0.5",
    "GATEWAY_INQUIRY_DELAY_SECONDS": f"{SETTLE_SECONDS:g}",
    "GATEWAY_LATE_INQUIRY_SECONDS": "2, 6",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "3",
    "WORKER_POLL_INTERVAL_SECONDS": "0.2",
    "GATEWAY_BREAKER_FAILURES": "5",
    "GATEWAY_BREAKER_PROBE_SECONDS": "0.5",
    "GATEWAY_OUTAGE_PATIENCE_SECONDS": "10",
    "DEMO_GATEWAY_KIND": "chaos",
}


class Run:
    """The service, its databases and its clients during a campaign.

    `found` collects differences that are seen before the comparison at the end.
    """

    def __init__(self, directory: Path, profile: ChaosProfile, stack: ExitStack) -> None:
        """Start both databases and the proxies; the stack ends them."""
        self.directory = directory
        self.profile = profile
        self.dice = random.Random(profile.seed)
        # The supervisor's thread draws at times of its own, and must not change the order of the faults.
        self._launch_dice = random.Random(f"launch-{profile.seed}")
        self.faults: Counter[str] = Counter()
        self.decided: Counter[str] = Counter()
        self.found: list[str] = []
        self.payers: list[Payer] = []
        self.world = 0
        """The number of restores until now."""

        self.lock = threading.RLock()
        self.over = threading.Event()
        stack.callback(remove_leftovers)
        library = find_library()
        self.clock = None if library is None else SteppedClock(directory / "clock", library)
        prefix = [] if self.clock is None else self.clock.server_prefix
        self.data_dir, self.world_dir = directory / "var", directory / "world"
        self.postgres = EmbeddedPostgres(self.data_dir, create=True, server_prefix=prefix)
        self.world_postgres = EmbeddedPostgres(self.world_dir, create=True)
        self.url = stack.enter_context(self.postgres)
        world_url = stack.enter_context(self.world_postgres)
        self.proxies = [stack.enter_context(proxy_before(self.url)) for _ in range(2)]
        self.fleet = Fleet(directory, self.url, **SETTINGS, DEMO_GATEWAY_SEED=str(profile.seed))
        stack.callback(self.fleet.kill)
        self._add_members(world_url)
        self._places = {part: places_of(part) for part in ("api", "worker", "projector")}
        self._frozen: dict[str, float] = {}
        self._background = ThreadPoolExecutor(max_workers=8)
        self._futures: list[Future[None]] = []

    def _add_members(self, world_url: str) -> None:
        port = int(self.fleet.environment["DEMO_GATEWAY_PORT"])
        arguments = {"profile": to_builtins(self.profile), "database_url": world_url, "port": port}
        self.fleet.add("gateway", "gateway", program=("-c", PROGRAM, json.dumps(arguments)))
        proxied = [_as_url(proxy.url) for proxy in self.proxies]
        for part in ("api", "worker", "projector"):
            self.fleet.add(f"{part}-1", part)
            own = {"DATABASE_URL": proxied[part == "worker"]} if part != "projector" else {}
            self.fleet.add(f"{part}-2", part, **own)

    @property
    def gateway_url(self) -> str:
        """The gateway's own address, which tells the truth about its acts."""
        return f"http://127.0.0.1:{self.fleet.environment['DEMO_GATEWAY_PORT']}"

    @property
    def parts(self) -> list[Member]:
        """The processes of the service, without the gateway."""
        return [member for member in self.fleet.members.values() if member.part != "gateway"]

    @property
    def counts(self) -> Counter[str]:
        """All faults, counted by what they did."""
        lost = sum((proxy.lost for proxy in self.proxies), Counter[Cut]())
        return self.faults + Counter({f"connection lost, {cut.replace('_', ' ')}": n for cut, n in lost.items()})

    # --- processes ---

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        for member in self.fleet.members.values():
            member.start()
        for api in self.fleet.apis():
            api.wait_until_ready()

    def launch(self, member: Member) -> None:
        """Start a process that will die at its part's next fail point."""
        if member.part == "gateway":
            member.start()
        else:
            missed = self.missed_places(member.part)
            place = self._launch_dice.choice(missed or self._places[member.part])
            reached = self._launch_dice.randint(1, REACHED_SOON_MAX if missed else REACHED_MAX)
            member.start("--at", f"{place}:{reached}")

    @property
    def places(self) -> set[FailPoint]:
        """The fail points of all parts."""
        return {place for places in self._places.values() for place in places}

    def missed_places(self, *parts: str) -> list[FailPoint]:
        """The fail points of some parts, or of all, at which nobody has died yet."""
        hits = self.fleet.hits
        return sorted({place for part in parts or self._places for place in self._places[part]} - hits.keys())

    def wait_until_all_died(self) -> None:
        """Wait until a process has died at each fail point, for a run that was too short for that."""
        deadline = time.monotonic() + DEATHS_SECONDS_MAX
        while self.missed_places() and time.monotonic() < deadline:
            time.sleep(1)

    def restart_dead(self) -> None:
        """Restart dead processes and databases, as a supervisor would, until `over` is set."""
        while not self.over.wait(0.1):
            with self.lock:
                for member in self.fleet.members.values():
                    if not member.is_alive():
                        self.launch(member)
                self.ensure_postgres()

    def ensure_postgres(self) -> None:
        """Start each Postgres that has died. One that dies again while it starts is left to the next call."""
        for server in (self.postgres, self.world_postgres):
            if not server.is_running():
                with suppress(EmbeddedPostgresFailed):
                    server.ensure_running()

    def freeze(self, member: Member, *, seconds: float) -> None:
        """Freeze a process; the loop of the faults continues it."""
        member.signal(signal.SIGSTOP)
        self._frozen[member.name] = time.monotonic() + seconds

    def continue_frozen(self, now: float = float("inf")) -> None:
        """Continue the processes whose time is over."""
        for name, until in list(self._frozen.items()):
            if now >= until:
                del self._frozen[name]
                self.fleet.members[name].signal(signal.SIGCONT)

    def server_processes(self, data_dir: Path) -> "list[psutil.Process]":
        """The postmaster of a data directory and its backends; none when it does not run."""
        with suppress(OSError, ValueError, psutil.Error):
            number = int((cluster_of(data_dir) / "postmaster.pid").read_text().split("\n")[0])
            postmaster = psutil.Process(number)
            return [postmaster, *postmaster.children()]
        return []

    def connect(self) -> "psycopg.Connection[Any]":
        """Connect to the ledger's database as its owner. Raises psycopg.Error."""
        return psycopg.connect(self.url, autocommit=True, options="-c search_path=ledger", connect_timeout=10)

    # --- what goes on beside the faults ---

    def beside(self, what: str, do: Callable[[], None]) -> None:
        """Do something beside the faults. An assertion that fails in it is a difference."""

        def watched() -> None:
            try:
                do()
            except AssertionError as wrong:
                self.found.append(f"{what}: {wrong}")

        self._futures.append(self._background.submit(watched))

    # --- the end ---

    def restart_without_faults(self) -> None:
        """Stop all faults, and restart every process without fail points."""
        self.continue_frozen()
        if self.clock is not None:
            self.clock.step(0)
        for future in self._futures:  # a command needs a database, which the supervisor restarts until then
            future.result(BACKGROUND_SECONDS_MAX)
        self.over.set()
        with self.lock:
            self.fleet.kill()
            for proxy in self.proxies:
                proxy.cut = None
            self.postgres.ensure_running()
            self.world_postgres.ensure_running()
            self.start()

    def stop_workers(self) -> None:
        """Stop the workers, so that everything is read from one state and no payment in doubt ends in between."""
        for member in self.fleet.members.values():
            if member.part == "worker":
                member.stop()


def _as_url(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    return f"postgresql://{given['user']}@/{given['dbname']}?host={quote(str(given['host']), safe='')}"
