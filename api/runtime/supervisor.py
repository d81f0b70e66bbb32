"""Runs the whole service on one machine: the embedded Postgres if it is needed, and each part as a supervised process.

Before the first part starts, the supervisor checks everything that could fail: the ports, the database, its schema. It
restarts a part that dies, after a pause that grows with each death. It stops the parts in an order in which no part
accepts work that a later part could not finish: the API, the worker, projector and demo gateway, then Postgres.

The parts inherit the reading end of a pipe, and only this process has the writing end. When this process is killed, the
parts read end-of-file and stop by themselves, so no part outlives the service.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, Final, Self

import structlog

from api.runtime.database import opened, prepare
from api.runtime.embedded_postgres.keeping import keep_running
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.runtime.http_readiness import HTTP_PARTS, http_part_ready
from api.runtime.ports import CannotListen, PortTaken, ensure_free
from api.runtime.process_proof import environment_with, new_proof
from api.runtime.readiness import heartbeats_fresh
from api.runtime.server_tls import server_tls
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.store.heartbeats import PARTS as BEATING_PARTS

STOP_STAGES: Final[Sequence[tuple[tuple[str, ...], float]]] = (
    (("api",), 3.0),
    (("worker",), 3.0),
    (("projector", "gateway"), 1.0),
)
"""The parts that stop together, in order, and the seconds that each stage may take: with Postgres, ten in all."""

PORT_WAIT_SECONDS: Final = 3.0
"""How long to wait for a port that parts of a killed service may still hold."""

STEADY_SECONDS: Final = 10.0
"""A part that has run this long counts as started: after its next death the pauses begin at the shortest again."""

STARTS_MAX: Final = 3
"""How often a part may die without ever having been ready; then the service ends."""

PAUSE_SECONDS_MIN: Final = 0.2
PAUSE_SECONDS_MAX: Final = 30.0

_POLL_SECONDS: Final = 0.05
_STILL_WAITING_SECONDS: Final = 10.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = structlog.get_logger()


class PartKeepsDying(Exception):
    """A part of the service does not start; the text names the part and its exit code. Its own log has the reason."""


def serve(
    settings: Settings, ensure_guarded: Callable[[Settings, Database], None], announce: Callable[[], None]
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, and call `announce` when all parts are ready.

    `ensure_guarded` is called before the first part starts, and raises when the parts may not listen.
    A second signal kills the parts instead of waiting for them.
    Raises SettingsError, CannotListen, PartKeepsDying, NoDataDirectory, EmbeddedPostgresFailed, StoreBroken,
    psycopg.OperationalError.
    """
    with _Stop() as stop, suppress(KeyboardInterrupt):
        if settings.gateway_tls_files:
            import_module("api.runtime.gateway_tls").gateway_tls(settings)
        server_tls(settings)  # before any part is started
        _ensure_ports(settings)
        with opened(settings, create=True) as (partitions, postgres):
            if applied := prepare(settings, partitions):
                _log.info("migrated", applied=applied)
            ensure_guarded(settings, partitions.first.database)
            asyncio.run(_Supervisor(settings, partitions, postgres, stop).run(announce))


class _Stop:
    """Counts the signals that ask the service to stop. While no parts run, the first one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = 0
        self._on_signal: Callable[[], object] | None = None
        self._former: list[tuple[int, object]] = []

    def __enter__(self) -> Self:
        self._former = [(number, signal.signal(number, self._handle)) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former:
            signal.signal(number, former)  # type: ignore[arg-type]

    def call(self, on_signal: Callable[[], object]) -> None:
        """From now on, call a function from the signal handler instead of raising KeyboardInterrupt."""
        self._on_signal = on_signal
        if self.asked:
            on_signal()

    def ignore(self) -> None:
        """From now on, ignore signals, so that they cannot interrupt the stop that has begun."""
        self._on_signal = lambda: None

    def _handle(self, _: int, __: FrameType | None) -> None:
        self.asked += 1
        if self._on_signal is not None:
            self._on_signal()
        elif self.asked == 1:
            raise KeyboardInterrupt


class _Part:
    """A part of the service in its own process, which is restarted when it dies."""

    def __init__(self, name: str, *, environment: dict[str, str], lifeline: int) -> None:
        self.name = name
        self.was_ready = False
        self.proof = ""
        self._environment = environment
        self._lifeline = lifeline
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def number(self) -> int | None:
        """The process id, while the process lives."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def keep(self) -> None:
        """Run the part until `stop`. Raises PartKeepsDying when it dies STARTS_MAX times without having been ready."""
        deaths = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            self._process = await self._start()
            if self._stopping.is_set():
                self._process.kill()  # safe, because the part has not begun any work yet
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - started_at > STEADY_SECONDS else deaths + 1
            if deaths >= STARTS_MAX and not self.was_ready:
                raise PartKeepsDying(f"The {self.name} has ended {deaths} times while starting, with {_ending(code)}.")
            pause_seconds = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2 ** (deaths - 1))
            _log.error("part_died", died=self.name, ending=_ending(code), again_in_seconds=pause_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_seconds)

    async def stop(self, *, seconds: float, hurry: asyncio.Event) -> None:
        """Ask the part to stop, and kill it after `seconds` or as soon as `hurry` is set."""
        self._stopping.set()
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        exited, hurried = asyncio.ensure_future(self._process.wait()), asyncio.ensure_future(hurry.wait())
        await asyncio.wait({exited, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not exited.done():
            _log.warning("part_killed", killed=self.name, because="hurry" if hurry.is_set() else "it took too long")
            with suppress(ProcessLookupError):
                self._process.kill()
        await exited

    async def _start(self) -> asyncio.subprocess.Process:
        self.proof = new_proof()
        return await asyncio.create_subprocess_exec(
            # -P: do not import a directory named `api` from the directory where the service was started. A service that
            # ignores Python's variables (-I) has parts that do so too.
            *(sys.executable, "-I" if sys.flags.isolated else "-P", "-m", "api.cli", self.name, "--until-eof"),
            env=environment_with(self._environment, self.proof),
            stdin=self._lifeline,
            start_new_session=True,  # Ctrl-C in the terminal reaches only the supervisor, which stops all in order
        )


class _Supervisor:
    """Runs all parts of the service."""

    def __init__(
        self, settings: Settings, partitions: Partitions, postgres: EmbeddedPostgres | None, stop: _Stop
    ) -> None:
        self._settings = settings
        self._partitions = partitions
        self._postgres = postgres
        self._stop = stop
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._parts: dict[str, _Part] = {}

    async def run(self, announce: Callable[[], None]) -> None:
        """Start the parts, keep them running until a signal asks to stop, and stop them. Raises PartKeepsDying."""
        loop = asyncio.get_running_loop()
        self._stop.call(lambda: loop.call_soon_threadsafe(self._on_signal))
        reading, writing = os.pipe()  # the parts inherit only the reading end
        environment = os.environ | {
            "DATABASE_URL": self._partitions.first.database.url,
            "AUTO_CREATE_TABLES": "false",
            # The embedded Postgres has a DATABASE_URL for the parts, which says nothing about the gateway.
            "DEMO_GATEWAY": "true" if self._settings.demo_gateway else "false",
        }
        names = [*HTTP_PARTS, *BEATING_PARTS] if self._settings.demo_gateway else ["api", *BEATING_PARTS]
        self._parts = {name: _Part(name, environment=environment, lifeline=reading) for name in names}
        keeping = asyncio.gather(*(part.keep() for part in self._parts.values()))
        background: list[asyncio.Task[None]] = [asyncio.create_task(self._announce_when_ready(announce))]
        if self._postgres is not None:
            background.append(asyncio.create_task(keep_running(self._postgres)))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {keeping, stopping}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            for task in background:
                task.cancel()
            await asyncio.wait(background)
            await self._stop_all()
            self._stop.ignore()
            os.close(reading)
            os.close(writing)
        await keeping

    def _on_signal(self) -> None:
        self._stopping.set()
        if self._stop.asked > 1:
            self._hurry.set()

    async def _announce_when_ready(self, announce: Callable[[], None]) -> None:
        began = time.monotonic()
        complain_after = _STILL_WAITING_SECONDS
        while waited_for := [name for name, part in self._parts.items() if not await self._is_ready(part)]:
            if time.monotonic() - began > complain_after:
                complain_after += _STILL_WAITING_SECONDS
                _log.warning("still_waiting", parts=waited_for)
            await asyncio.sleep(_POLL_SECONDS)
        announce()

    async def _is_ready(self, part: _Part) -> bool:
        if not part.was_ready and (number := part.number) is not None:
            part.was_ready = await (
                asyncio.to_thread(http_part_ready, part.name, self._settings, proof=part.proof)
                if part.name in HTTP_PARTS
                else asyncio.to_thread(heartbeats_fresh, part.name, self._partitions, process=number)
            )
        return part.was_ready

    async def _stop_all(self) -> None:
        _log.info("stopping")
        for names, seconds in STOP_STAGES:
            stage = [self._parts[name] for name in names if name in self._parts]
            await asyncio.gather(*(part.stop(seconds=seconds, hurry=self._hurry) for part in stage))


def _ensure_ports(settings: Settings) -> None:
    """Check the ports before any part is started. Raises CannotListen, which names the setting to change."""
    wanted = [("PORT", settings.host, settings.port)]
    if settings.demo_gateway:
        wanted.append(("DEMO_GATEWAY_PORT", settings.demo_gateway_host, settings.demo_gateway_port))
    if len({port for _, _, port in wanted}) < len(wanted):
        raise CannotListen(f"PORT and DEMO_GATEWAY_PORT are both {settings.port}; they must differ.")
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    for name, host, port in wanted:
        while True:
            try:
                ensure_free(host, port)
            except PortTaken as taken:
                if time.monotonic() > deadline:
                    raise PortTaken(f"{taken}; {name} chooses another port.") from None
                time.sleep(_POLL_SECONDS)
            except CannotListen as refused:
                setting = name.replace("PORT", "HOST")
                raise CannotListen(
                    f"{refused}. {setting} chooses another address; some shells and tools set HOST for themselves."
                ) from None
            else:
                break


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
