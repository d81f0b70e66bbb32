"""The whole service on one machine: Postgres where it has none, and each part as a process of its own, watched.

Everything that could stop the service from being whole is tried before the first part starts: the ports, the database,
its schema. Then a part that dies is started again after a pause that grows while it goes on dying. A stop goes in
order, so that nothing is taken that could not be finished: the API, the worker, projector and demo gateway, Postgres.

The parts hold the reading end of a pipe whose writing end only this process has. When it is killed, they read its end
and stop by themselves, so no part ever outlives the service.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

import structlog

from api.databases import opened, prepare
from api.embedded_postgres import EmbeddedPostgres
from api.ports import CannotListen, PortTaken, ensure_free
from api.readiness import BEATING_PARTS, HTTP_PARTS, answers, beats
from api.standalone import keep_running
from ledger.database import Database
from ledger.settings import Settings

STOP_STAGES: Final[Sequence[tuple[tuple[str, ...], float]]] = (
    (("api",), 3.0),
    (("worker",), 3.0),
    (("projector", "gateway"), 1.0),
)
"""What is stopped with what, and how many seconds it may take. With Postgres all of it fits into ten."""

PORT_WAIT_SECONDS: Final = 3.0
"""How long parts whose service was killed may still need to let go of a port."""

STEADY_SECONDS: Final = 10.0
"""A part that has lived so long has started well: the next time it dies, it is started again at once."""

STARTS_MAX: Final = 3
"""How often a part may die before it has ever been ready."""

PAUSE_SECONDS_MIN: Final = 0.2
PAUSE_SECONDS_MAX: Final = 30.0

_LOOK_SECONDS: Final = 0.05
_STILL_WAITING_SECONDS: Final = 10.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = structlog.get_logger()


class PartKeepsDying(Exception):
    """A part of the service does not start; the text says which, and how it ended. Its own log says why."""


def serve(settings: Settings, announce: Callable[[], None]) -> None:
    """Serve until a SIGINT, SIGTERM or SIGHUP, and call `announce` when all parts are ready; a second signal hurries.

    Raises CannotListen, PartKeepsDying, NoDataDirectory, EmbeddedPostgresFailed, psycopg.OperationalError, StoreBroken.
    """
    with _Stop() as stop, suppress(KeyboardInterrupt):
        _ensure_ports(settings)
        with opened(settings, create=True) as (database, postgres):
            if applied := prepare(settings, database):
                _log.info("migrated", applied=applied)
            asyncio.run(_Supervisor(settings, database, postgres, stop).run(announce))


class _Stop:
    """The wish to stop. Before and after the parts run, the first one interrupts whatever is being done."""

    def __init__(self) -> None:
        self.asked = 0
        self._heard: Callable[[], object] | None = None
        self._former: list[tuple[int, object]] = []

    def __enter__(self) -> Self:
        self._former = [(number, signal.signal(number, self._hear)) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former:
            signal.signal(number, former)  # type: ignore[arg-type]

    def call(self, heard: Callable[[], object]) -> None:
        """Interrupt nothing from here on, and call a function instead, from the signal's handler."""
        self._heard = heard
        if self.asked:
            heard()

    def ignore(self) -> None:
        """Interrupt nothing from here on: the stop is under way, and is not to be cut off."""
        self._heard = lambda: None

    def _hear(self, _: int, __: FrameType | None) -> None:
        self.asked += 1
        if self._heard is not None:
            self._heard()
        elif self.asked == 1:
            raise KeyboardInterrupt


class _Part:
    """A part as a process of its own, started again when it dies."""

    def __init__(self, name: str, *, environment: dict[str, str], lifeline: int) -> None:
        self.name = name
        self.was_ready = False
        self._environment = environment
        self._lifeline = lifeline
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def number(self) -> int | None:
        """The number of its process, while it lives."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def keep(self) -> None:
        """Run the part until it is stopped. Raises PartKeepsDying when it does not even start."""
        deaths = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            self._process = await self._start()
            if self._stopping.is_set():
                self._process.kill()  # it has not begun anything yet
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
        """Ask the part to stop, and end it when that takes too long or when there is a hurry."""
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
        return await asyncio.create_subprocess_exec(
            # -P: a directory named `api` where the service was started is not ours.
            *(sys.executable, "-P", "-m", "api.cli", self.name, "--until-eof"),
            env=self._environment,
            stdin=self._lifeline,
            start_new_session=True,  # a Ctrl-C in the terminal is for the service, which stops its parts in order
        )


class _Supervisor:
    """All parts together."""

    def __init__(self, settings: Settings, database: Database, postgres: EmbeddedPostgres | None, stop: _Stop) -> None:
        self._settings = settings
        self._database = database
        self._postgres = postgres
        self._stop = stop
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._parts: dict[str, _Part] = {}

    async def run(self, announce: Callable[[], None]) -> None:
        """Start the parts, keep them running until a stop is asked for, and stop them."""
        loop = asyncio.get_running_loop()
        self._stop.call(lambda: loop.call_soon_threadsafe(self._hear))
        reading, writing = os.pipe()  # children inherit the end that they are given, and no other
        environment = os.environ | {"DATABASE_URL": self._database.url, "AUTO_CREATE_TABLES": "false"}
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

    def _hear(self) -> None:
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
            await asyncio.sleep(_LOOK_SECONDS)
        announce()

    async def _is_ready(self, part: _Part) -> bool:
        if not part.was_ready and (number := part.number) is not None:
            part.was_ready = await (
                asyncio.to_thread(answers, part.name, self._settings)
                if part.name in HTTP_PARTS
                else asyncio.to_thread(beats, part.name, self._database, process=number)
            )
        return part.was_ready

    async def _stop_all(self) -> None:
        _log.info("stopping")
        for names, seconds in STOP_STAGES:
            stage = [self._parts[name] for name in names if name in self._parts]
            await asyncio.gather(*(part.stop(seconds=seconds, hurry=self._hurry) for part in stage))


def _ensure_ports(settings: Settings) -> None:
    """Make sure of the ports before anything is started. Raises CannotListen, which names the setting to change."""
    wanted = [("PORT", settings.host, settings.port)]
    if settings.demo_gateway:
        wanted.append(("DEMO_GATEWAY_PORT", settings.demo_gateway_host, settings.demo_gateway_port))
    if len({port for _, _, port in wanted}) < len(wanted):
        raise CannotListen(f"PORT and DEMO_GATEWAY_PORT are both {settings.port}; they have to differ.")
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    for name, host, port in wanted:
        while True:
            try:
                ensure_free(host, port)
            except PortTaken as taken:
                if time.monotonic() > deadline:
                    raise PortTaken(f"{taken}; {name} chooses another port.") from None
                time.sleep(_LOOK_SECONDS)
            else:
                break


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
