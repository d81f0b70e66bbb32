"""The status of the service, for health checks and `payment-ledger status`.

All callers that ask while a query runs share its result, and each of them waits at most one second. A database that
takes longer is called slow as long as it answers anything: a query that counts no rows runs beside the status, and an
answer that came late still shows that the server answers. It is unavailable when connecting or asking fails, and when
nothing has come back for ten seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar, get_args

import msgspec
import psycopg
from msgspec import Struct

from api.queries.pool import Connection, ReadPool
from ledger.domain.payment import LetterState
from ledger.errors import DatabaseUnavailable
from ledger.operation.gateway import SQL as OPERATION
from ledger.operation.gateway import GatewayStanding, standing_of
from ledger.operation.state import GATEWAY, GatewayWord
from ledger.store.migrate import SQL as MIGRATE
from ledger.store.statements import load_statements
from projections.models.registry import GROUPS

SQL: Final = load_statements("api.queries", "service_status.sql")

QUERY_SECONDS_MAX: Final = 1.0

ANSWER_SECONDS_MAX: Final = 10.0
"""How long an answer shows that the server answers. The pool cuts a connection whose server is silent before that."""

ALONE_SECONDS: Final = 0.3
"""How long the status is waited for before the query that counts no rows begins beside it."""

FIRST_ANSWER_SECONDS_MAX: Final = 2.5
"""How long the first answer of all may take, while nothing is known of the server."""

COUNT_MAX: Final = 1_000
"""Queues and lists of letters up to this length are counted; Postgres's estimate stands for longer ones."""

DatabaseState = Literal["ok", "slow", "unavailable"]

DATABASE_STATES: Final[tuple[DatabaseState, ...]] = get_args(DatabaseState)
"""The states of a database from the best to the worst."""

_LETTER_STATES: Final[tuple[LetterState, ...]] = get_args(LetterState)
_NO_LETTERS: Final = (0, 0.0)

FoundT = TypeVar("FoundT")


class StreamStatus(Struct, frozen=True, kw_only=True):
    """A stream that a group has set aside, and the position and the reason of the event that it could not apply."""

    stream: str
    position: int
    because: str


class ReadModelStatus(Struct, frozen=True, kw_only=True):
    """The position of a group of read models; `lag` is the number of events it is behind the log.

    `lag_seconds` is the age of the first event that it has not applied, 0 when there is none. A stopped group has the
    position and the reason of its stop. `set_aside` are the streams that it could not apply, `not_filled` the models
    that `payment-ledger rebuild` has to fill.
    """

    name: str
    position: int
    lag: int
    lag_seconds: float
    stopped_at_position: int | None
    stopped_because: str | None
    set_aside: list[StreamStatus]
    not_filled: list[str]


class QueueStatus(Struct, frozen=True, kw_only=True):
    """The number of payments that wait for the gateway, and for how many seconds the first of them has been due.

    The number is exact up to 1,000, and Postgres's estimate above.
    """

    waiting: int
    oldest_due_seconds: float


class PartStatus(Struct, frozen=True, kw_only=True):
    """A worker or projector, and the seconds since its last heartbeat."""

    part: str
    instance: str
    seen_seconds_ago: float


class GatewayStatus(Struct, frozen=True, kw_only=True):
    """Whether the gateway is called: `closed` while it is. A pause and an open breaker have a reason and an age."""

    state: GatewayWord
    since_seconds: float = 0.0
    why: str | None = None


class StatusReport(Struct, frozen=True, kw_only=True):
    """The status of the service; `inactive` marks an imported copy that no operator has activated.

    `log_ahead_seconds` is how far the log's last time is ahead of the database's clock. `oldest_in_doubt_seconds` is
    how long the oldest payment in doubt has been so, 0 when none is, and `oldest_letter_seconds` the same for every
    state of letters. `durability_off` names the settings of Postgres that let a crash lose commits.
    """

    position: int
    log_ahead_seconds: float
    inactive: bool
    read_models: list[ReadModelStatus]
    gateway: GatewayStatus
    gateway_queue: QueueStatus
    dead_letters: dict[LetterState, int]
    oldest_in_doubt_seconds: float
    oldest_letter_seconds: dict[LetterState, float]
    durability_off: list[str]
    parts: list[PartStatus]


class StatusReading(Struct, frozen=True):
    """A look at the database: how it answered, and its report if it came in time."""

    database: DatabaseState
    report: StatusReport | None = None


class ServiceStatus:
    """Reads the status of the service."""

    def __init__(self, pool: ReadPool, *, patience_seconds: float = QUERY_SECONDS_MAX) -> None:
        """Read through `pool`; `patience_seconds` is how long a report is waited for."""
        self._patience_seconds = patience_seconds
        self._answers = _Answers()
        self._report = _SharedQuery(pool, _read_report, self._answers)
        self._position = _SharedQuery(pool, _read_position, self._answers)

    async def read(self) -> StatusReading:
        """Read the status; without a report when the database does not give it in time, or has no ledger."""
        began = time.monotonic()
        report = self._report.running()
        await asyncio.wait({report}, timeout=ALONE_SECONDS)
        if not report.done():
            position = self._position.running()
            await asyncio.wait({report}, timeout=self._patience_seconds - ALONE_SECONDS)
            if not self._answers.is_known:
                both = {report, position}
                await asyncio.wait(both, timeout=FIRST_ANSWER_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        if report.done() and (found := report.result()) is not None:
            return StatusReading("ok" if time.monotonic() - began <= QUERY_SECONDS_MAX else "slow", found)
        return StatusReading("slow" if self._answers.is_fresh else "unavailable")

    async def database(self) -> DatabaseState:
        """Tell within a second whether the database answers and has a ledger. This query counts no rows."""
        if await self._position.result() is not None:
            return "ok"
        return "slow" if self._answers.is_fresh else "unavailable"

    async def close(self) -> None:
        """End the running queries."""
        await self._report.close()
        await self._position.close()


class _Answers:
    """The last sign of the server: whether it answered, when, and whether anything is known of it."""

    def __init__(self) -> None:
        self._at = -ANSWER_SECONDS_MAX
        self.is_known = False

    @property
    def is_fresh(self) -> bool:
        """Whether the server answered a moment ago, and has not failed since."""
        return time.monotonic() - self._at < ANSWER_SECONDS_MAX

    def answered(self) -> None:
        self._at, self.is_known = time.monotonic(), True

    def failed(self) -> None:
        self._at, self.is_known = -ANSWER_SECONDS_MAX, True


class _SharedQuery(Generic[FoundT]):
    """A query whose result is shared by all callers that ask while it runs."""

    def __init__(self, pool: ReadPool, read: Callable[[Connection], Awaitable[FoundT]], answers: _Answers) -> None:
        self._pool = pool
        self._read = read
        self._answers = answers
        self._running: asyncio.Task[FoundT | None] | None = None

    def running(self) -> "asyncio.Task[FoundT | None]":
        """Return the query that runs, and begin one when none does."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return self._running

    async def result(self) -> FoundT | None:
        running = self.running()  # another caller may start the next query before this one gets its result
        done, _ = await asyncio.wait({running}, timeout=QUERY_SECONDS_MAX)
        return running.result() if done else None

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self) -> FoundT | None:
        try:
            found = await self._pool.read(self._read)
        except (DatabaseUnavailable, psycopg.Error):
            self._answers.failed()
            return None
        if found is not None:
            self._answers.answered()
        return found


async def _read_position(connection: Connection) -> int | None:
    row = await (await connection.execute(SQL["read_position"], prepare=True)).fetchone()
    return None if row is None else int(row[0])


async def _read_report(connection: Connection) -> StatusReport:
    async with connection.pipeline():
        models = await connection.execute(SQL["read_read_models"], prepare=True)
        aside = await connection.execute(SQL["read_set_aside"], prepare=True)
        queue = await connection.execute(SQL["read_queue"], {"count_max": COUNT_MAX}, prepare=True)
        letters = await connection.execute(
            SQL["read_letters"], {"count_max": COUNT_MAX, "states": list(_LETTER_STATES)}, prepare=True
        )
        parts = await connection.execute(SQL["read_heartbeats"], prepare=True)
        gateways = await connection.execute(OPERATION["read_state"], {"gateway": GATEWAY}, prepare=True)
        durability = await connection.execute(MIGRATE["read_durability"], prepare=True)
        now, position, log_ahead_seconds, inactive, waiting, oldest_due_seconds = (await queue.fetchall())[0]
        counted = {state: (count, seconds) for state, count, seconds in await letters.fetchall()}
        streams = await aside.fetchall()
        return StatusReport(
            position=position,
            log_ahead_seconds=log_ahead_seconds,
            inactive=inactive,
            read_models=[_read_model(row, now=now, streams=streams) async for row in models],
            gateway=_gateway(standing_of((await gateways.fetchall())[0])),
            gateway_queue=QueueStatus(waiting=waiting, oldest_due_seconds=oldest_due_seconds),
            dead_letters={state: counted.get(state, _NO_LETTERS)[0] for state in _LETTER_STATES},
            oldest_in_doubt_seconds=counted.get("in_doubt", _NO_LETTERS)[1],
            oldest_letter_seconds={state: counted.get(state, _NO_LETTERS)[1] for state in _LETTER_STATES},
            durability_off=[name async for name, _ in durability],
            parts=[
                PartStatus(part=part, instance=instance, seen_seconds_ago=ago) async for part, instance, ago in parts
            ],
        )


def _gateway(standing: GatewayStanding) -> GatewayStatus:
    mark = standing.state.paused or standing.state.opened
    if mark is None:
        return GatewayStatus(state=standing.word)
    since_seconds = max(0.0, (standing.clock - mark.at).total_seconds())
    return GatewayStatus(state=standing.word, since_seconds=since_seconds, why=mark.why)


def _read_model(row: tuple[Any, ...], *, now: datetime, streams: Sequence[tuple[Any, ...]]) -> ReadModelStatus:
    name, position, lag, next_event, stopped_at_position, stopped_because, models = row
    return ReadModelStatus(
        name=name,
        position=position,
        lag=lag,
        lag_seconds=0.0 if next_event is None else max(0.0, (now - _time_of(next_event, now)).total_seconds()),
        stopped_at_position=stopped_at_position,
        stopped_because=stopped_because,
        set_aside=[
            StreamStatus(stream=stream, position=at, because=because)
            for of, stream, at, because in streams
            if of == name
        ],
        not_filled=[
            model.name for group in GROUPS if group.name == name for model in group.models if model.name not in models
        ],
    )


class _Timed(Struct):
    """The time of a stored event; its other fields are not looked at."""

    at: datetime


_timed: Final = msgspec.json.Decoder(_Timed)


def _time_of(stored: bytes, otherwise: datetime) -> datetime:
    """Return the time of an event; another one when it cannot be read, which stops the group for everybody to see."""
    try:
        return _timed.decode(stored).at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return otherwise
