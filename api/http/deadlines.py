"""The deadlines of a request: that of its body, and that of everything that it reads; and its id for the log.

The second is a context variable, which the outermost wrapper of the application sets, so that a read need not be told
for which request it is done. Without a request, as in the command line, each read has READ_SECONDS_MAX for itself.

One timer watches all requests together. `asyncio.timeout` sets and cancels a timer for each use, and on uvloop that
costs more than reading a short body or answering from a shared query does.
"""

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from structlog.typing import EventDict

READ_SECONDS_MAX: Final = 4.5
"""How long a client waits for everything that its request reads, before it gets a 503.

With the quarter of a second between two looks at the waiting requests, each is answered within five seconds.
"""

CHECK_SECONDS: Final = 0.25
"""How often futures are checked, and so how late one may end."""

CHECKS_PER_LIMIT: Final = 30
"""How often the tasks are checked within the limit. A task is cancelled at most one interval late."""

ResultT = TypeVar("ResultT")

_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
_until: Final[ContextVar[float]] = ContextVar("until", default=float("inf"))


def begin_request(identifier: str) -> None:
    """Let the reads of the request that is now handled end within READ_SECONDS_MAX, and its lines have its id."""
    _until.set(time.monotonic() + READ_SECONDS_MAX)
    _id.set(identifier)


def add_request_id(_: object, __: str, event: EventDict) -> EventDict:
    """Add the id of the request that is being handled to a line of the log that does not have one."""
    if (identifier := _id.get()) is not None:
        event.setdefault("request_id", identifier)
    return event


def seconds_left() -> float:
    """Return how long the next read of this request may take."""
    return max(0.0, min(READ_SECONDS_MAX, _until.get() - time.monotonic()))


class FutureDeadlines:
    """Ends futures that have no result in time with TimeoutError.

    It costs less than a `SharedDeadline` for a caller that awaits a future of its own: it cancels nothing, so it need
    not distinguish its own cancellations from those of others.
    """

    def __init__(self) -> None:
        self._until: list[tuple[asyncio.Future[Any], float]] = []
        self._timer_runs = False

    def add(self, future: "asyncio.Future[Any]", *, within_seconds: float) -> None:
        """Give a future of the running loop so long."""
        self._until.append((future, time.monotonic() + within_seconds))
        if not self._timer_runs:
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer_runs = True
        asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        """End the late futures, and forget those that are done."""
        now = time.monotonic()
        waiting = [(future, until) for future, until in self._until if not future.done()]
        for future, until in waiting:
            if until <= now:
                future.set_exception(TimeoutError())
        self._until = [(future, until) for future, until in waiting if until > now]
        self._timer_runs = False
        if self._until:
            self._start_timer()


class SharedDeadline:
    """Limits how long each task of one event loop may await one thing at a time.

    Each task is noted with its end, and one timer, which runs only while tasks are noted, cancels the late ones.
    """

    def __init__(self, limit_seconds: float) -> None:
        """Set the limit. The timer starts with the first task."""
        self.limit_seconds = limit_seconds
        self._until: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer_runs = False

    @property
    def waiting(self) -> int:
        """The number of tasks that await something."""
        return len(self._until)

    async def keep(self, awaited: Awaitable[ResultT], *, within_seconds: float | None = None) -> ResultT:
        """Await something, and cancel it when the limit is over, or that of this call. Raises TimeoutError then."""
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        assert task not in self._until, "a task awaits one thing at a time"
        cancelling_before = task.cancelling()
        self._until[task] = time.monotonic() + (self.limit_seconds if within_seconds is None else within_seconds)
        if not self._timer_runs:
            self._start_timer()
        try:
            return await awaited
        except asyncio.CancelledError:
            if self._remove(task) and task.cancelling() <= cancelling_before:
                raise TimeoutError from None
            raise
        finally:
            self._remove(task)

    def _remove(self, task: asyncio.Task[Any]) -> bool:
        """Remove a task and return whether it was late. If so, the cancellation by this deadline is taken back."""
        if self._until.pop(task, None) is not None or task not in self._late:
            return False
        self._late.remove(task)
        task.uncancel()
        return True

    def _start_timer(self) -> None:
        self._timer_runs = True
        asyncio.get_running_loop().call_later(self.limit_seconds / CHECKS_PER_LIMIT, self._check)

    def _check(self) -> None:
        """Cancel the late tasks."""
        now = time.monotonic()
        for task in [task for task, until in self._until.items() if until <= now]:
            del self._until[task]
            self._late.add(task)
            task.cancel()
        self._timer_runs = False
        if self._until:
            self._start_timer()
