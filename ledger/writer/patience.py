"""Answers callers whose patience is over, also while the writer's thread waits for the server.

A thread of its own looks four times a second. A command that still waits in the queue is refused as unavailable. A
batch that is being written is given up: its callers are told that the database is unavailable, or that the outcome is
unknown when a COMMIT may have been sent. The writer's thread commits no batch that was given up as not stored
(`BatchInProgress.begin_commit`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from ledger.errors import DatabaseUnavailable
from ledger.writer.batch_in_progress import BatchInProgress
from ledger.writer.callers import PendingCommand, answer_all

PATIENCE_SECONDS: Final = 4.5
"""How long a command waits for a database that cannot be used before it is refused as unavailable.

With the quarter of a second between two looks at the callers, each is answered within five seconds.
"""

SLOW_BATCH_SECONDS: Final = 1.0
"""A batch that takes longer is logged."""

TICK_SECONDS: Final = 0.25
"""How often the thread looks, and so how much later than its patience a caller may be answered."""

_log = structlog.get_logger()


class Patience:
    """The patience of one writer's callers, which ends `seconds` after the arrival of their command.

    `take_late` takes the commands out of the queue that arrived at a time of the monotonic clock or before.
    """

    def __init__(self, seconds: float, take_late: Callable[[float], list[PendingCommand]]) -> None:
        self.seconds = seconds
        self._take_late = take_late
        self._writing: set[BatchInProgress] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-writer-patience", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def watch(self, batch: list[PendingCommand]) -> BatchInProgress:
        """Watch over a batch's callers. Their patience counts from the arrival of the first."""
        writing = BatchInProgress(batch, batch[0].arrived + self.seconds)
        self._writing.add(writing)
        return writing

    @contextmanager
    def spent(self, writing: BatchInProgress) -> Iterator[None]:
        """Write a watched batch in the block, after which its callers are answered; a slow one is logged."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._writing.discard(writing)
            if (seconds := time.monotonic() - began) > SLOW_BATCH_SECONDS:
                waited = began - writing.batch[0].arrived
                _log.warning("slow_batch", commands=len(writing.batch), took_seconds=seconds, waited_seconds=waited)

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            answer_all([(waiting, DatabaseUnavailable()) for waiting in self._take_late(now - self.seconds)])
            for writing in list(self._writing):  # a copy, because the writer's thread changes the set
                if now >= writing.deadline and not writing.is_given_up:
                    writing.give_up()
