"""Whether the writer can write now, as far as its last try tells; for readiness and health.

A writer without commands learns nothing by itself. So a question makes it prove its session: the writer's thread
locks the head, checks that it may be moved and that no right is missing, and rolls back (`session`). A batch committed
a moment ago is proof enough.
"""

import asyncio
import math
import threading
import time
from contextlib import suppress
from typing import Final

from ledger.sessions.outage_log import OutageLog

FRESH_SECONDS: Final = 2.0
"""How long a proof or a commit counts."""


class WriterStanding:
    """The result of the writer's last try, and the askers who wait for the next one. Any thread may use it."""

    def __init__(self) -> None:
        self._trouble: str | None = None
        self._proved_at = -math.inf
        self._askers: list[asyncio.Future[bool]] = []
        self._lock = threading.Lock()
        self._outage_log = OutageLog("writer")

    @property
    def trouble(self) -> str | None:
        """Why the last try failed; None after a success, and before the first try."""
        return self._trouble

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for the next try."""
        return bool(self._askers)

    @property
    def is_fresh(self) -> bool:
        """Whether a success was a moment ago, and nothing has failed since."""
        return self._trouble is None and time.monotonic() - self._proved_at < FRESH_SECONDS

    def ask(self) -> "asyncio.Future[bool]":
        """Wait, on the running event loop, for the result of the next try."""
        asker: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._askers.append(asker)
        return asker

    def succeeded(self) -> None:
        """Note that a batch was committed, or that the session was proved."""
        self._trouble = None
        self._proved_at = time.monotonic()
        self._outage_log.worked()
        if self._askers:
            self._answer(can_write=True)

    def failed(self, trouble: str, *, sqlstate: str | None = None, in_doubt: bool = False) -> None:
        """Note why a try failed."""
        self._outage_log.failed(trouble, sqlstate=sqlstate, in_doubt=in_doubt)
        self._trouble = trouble if sqlstate is None else f"{trouble} ({sqlstate})"
        self._answer(can_write=False)

    def _answer(self, *, can_write: bool) -> None:
        with self._lock:
            askers, self._askers = self._askers, []
        for asker in askers:
            with suppress(RuntimeError):  # the loop was closed, so nobody waits
                asker.get_loop().call_soon_threadsafe(_settle, asker, can_write)


def _settle(asker: "asyncio.Future[bool]", can_write: bool) -> None:  # noqa: FBT001 - call_soon passes by position
    if not asker.done():
        asker.set_result(can_write)
