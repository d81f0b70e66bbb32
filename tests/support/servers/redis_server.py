"""Debian's redis-server, in memory only, on a port of its own."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.support.ports import free_port
from tests.support.waiting import wait_until

PROGRAM: Final = shutil.which("redis-server")
needs_redis: Final = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed on this machine")


class RedisServer:
    """A Redis that can be ended and started again at the same address."""

    def __init__(self, directory: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._directory]
        self._process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def end(self) -> None:
        """End it, with all that it holds."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis."""
    with tempfile.TemporaryDirectory(prefix="redis") as directory:
        server = RedisServer(directory)
        server.start()
        try:
            yield server
        finally:
            server.end()
