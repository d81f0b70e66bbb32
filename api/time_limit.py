"""A limit of time that many tasks are under at once, watched for all of them together.

`asyncio.timeout` sets and clears a timer for each use, which for a short body costs as much as reading it. Here a task
is noted with the time at which it began, and one timer, which runs only while there are any, looks for late ones.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

LOOKS_IN_LIMIT: Final = 30
"""How often the tasks are looked at within the limit; it ends late by one look at most."""

ResultT = TypeVar("ResultT")


class TimeLimit:
    """How long each of one event loop's tasks may take for one thing at a time."""

    def __init__(self, limit_seconds: float) -> None:
        """Nothing runs before the first task is under the limit."""
        self.limit_seconds = limit_seconds
        self._begun: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking = False

    async def keep(self, awaited: Awaitable[ResultT]) -> ResultT:
        """Await something that is cancelled when it takes longer than the limit. Raises TimeoutError then."""
        task = asyncio.current_task()
        assert task is not None, "nothing is awaited outside of a task"
        assert task not in self._begun, "a task awaits one thing at a time"
        cancelled_before = task.cancelling()
        self._begun[task] = time.monotonic()
        if not self._looking:
            self._look_later()
        try:
            return await awaited
        except asyncio.CancelledError:
            if self._is_over(task) and task.cancelling() <= cancelled_before:
                raise TimeoutError from None
            raise
        finally:
            self._is_over(task)

    def _is_over(self, task: asyncio.Task[Any]) -> bool:
        """Forget a task and tell whether it was late; then the limit's own cancellation of it is taken back."""
        if self._begun.pop(task, None) is not None or task not in self._late:
            return False
        self._late.remove(task)
        task.uncancel()
        return True

    def _look_later(self) -> None:
        self._looking = True
        asyncio.get_running_loop().call_later(self.limit_seconds / LOOKS_IN_LIMIT, self._look)

    def _look(self) -> None:
        """Cancel what is late: the tasks are in the order in which they began."""
        began_too_early = time.monotonic() - self.limit_seconds
        for task, begun in list(self._begun.items()):
            if begun > began_too_early:
                break
            del self._begun[task]
            self._late.add(task)
            task.cancel()
        self._looking = False
        if self._begun:
            self._look_later()
