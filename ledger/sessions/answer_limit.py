"""Limits how long a caller waits for an answer of the server, also when the server hangs.

A server that was suspended, or whose disk has stalled, sends nothing, while its kernel goes on acknowledging packets:
no time-out of TCP ends the wait, and the server's own time-outs do not run. So a thread of the process watches the
waits and shuts the socket of one that takes too long. The waiting statement then fails like one whose connection was
lost, in a thread as on an event loop.
"""

import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
import structlog

from ledger.outages import LineBudget

TICK_SECONDS: Final = 0.25
"""How often the thread looks, and so how much later than its limit a wait may end."""

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_log = structlog.get_logger()


class _Socket:
    """A duplicate of a connection's socket, so that no other connection can ever be shut by mistake.

    Each connection has one for as long as it lives. To open and close one releases the interpreter, and a writer that
    did so for each batch waited to get it back.
    """

    def __init__(self, connection: AnyConnection) -> None:
        try:
            self._file = os.dup(connection.fileno())
        except OSError as error:  # the process has no more files; callers treat it as a session that cannot work
            raise psycopg.OperationalError(f"no limit can be set for an answer of the server: {error}") from error
        self.close = weakref.finalize(connection, os.close, self._file)

    def shut(self) -> None:
        shared = socket.socket(fileno=self._file)
        with suppress(OSError):  # the server has closed it already
            shared.shutdown(socket.SHUT_RDWR)
        shared.detach()


class _Wait:
    """A wait in progress."""

    def __init__(self, of_connection: _Socket, limit_seconds: float) -> None:
        self.socket = of_connection
        self.limit_seconds = limit_seconds
        self.until = time.monotonic() + limit_seconds
        self.is_shut = False

    def shut(self) -> None:
        self.is_shut = True
        self.socket.shut()


class _Watchdog:
    """The thread, which runs from the first wait of the process on."""

    def __init__(self) -> None:
        self._waits: set[_Wait] = set()
        self._sockets: weakref.WeakKeyDictionary[AnyConnection, _Socket] = weakref.WeakKeyDictionary()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._lines = LineBudget()

    def add(self, connection: AnyConnection, limit_seconds: float) -> _Wait:
        with self._changed:
            of_connection = self._sockets.get(connection)
            if of_connection is None:
                of_connection = self._sockets[connection] = _Socket(connection)
            wait = _Wait(of_connection, limit_seconds)
            self._waits.add(wait)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="answer-limit", daemon=True)
                self._thread.start()
            elif len(self._waits) == 1:
                self._changed.notify()
        return wait

    def remove(self, wait: _Wait, connection: AnyConnection) -> None:
        with self._changed:
            self._waits.discard(wait)
            if connection.closed:  # at once: while the duplicate is open, the server may not see that it was closed
                self._close_unused()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waits:
                    self._changed.wait()
                now = time.monotonic()
                late = [wait for wait in self._waits if now >= wait.until and not wait.is_shut]
                for wait in late:
                    wait.shut()
                self._close_unused()
            for wait in late:
                if (unsaid := self._lines.take(now)) is not None:
                    _log.warning("server_does_not_answer", waited_seconds=wait.limit_seconds, unsaid=unsaid)
            time.sleep(TICK_SECONDS)

    def _close_unused(self) -> None:
        """Close the duplicates of closed connections that somebody still refers to."""
        used = {wait.socket for wait in self._waits}
        for connection, of_connection in list(self._sockets.items()):
            if connection.closed and of_connection not in used:
                del self._sockets[connection]
                of_connection.close()


_watchdog: Final = _Watchdog()


@contextmanager
def answer_within(connection: AnyConnection, seconds: float) -> Iterator[None]:
    """Limit how long the statements of the block may take together. After that they raise as for a lost connection.

    A connection that is closed already needs no limit: its next statement fails by itself. Raises
    psycopg.OperationalError when the process has no file for the limit.
    """
    wait = None if connection.closed else _watchdog.add(connection, seconds)
    try:
        yield
    finally:
        if wait is not None:
            _watchdog.remove(wait, connection)
