"""A proxy before Postgres that loses connections at a chosen moment of the conversation.

It listens on a Unix socket of its own and hands bytes on both ways. It understands as much of the protocol as it needs:
a simple query is a message `Q`, and a COMMIT is one whose text is that word. What it is told to do, it does once.
"""

import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Cut = Literal["before_commit", "after_commit", "late_commit", "any_query"]
"""Lost before the COMMIT reaches the server; with its reply; before, and the server gets it later; or at any query."""

LATE_SECONDS = 0.3
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class PostgresProxy:
    """The proxy: `url` leads through it, `cut` says at which moment the next connection that gets there is lost."""

    def __init__(self, url: str, directory: Path) -> None:
        given = conninfo_to_dict(url)
        port = str(given.get("port") or 5432)
        self._target = f"{given['host']}/.s.PGSQL.{port}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / f".s.PGSQL.{port}"))
        self._listener.listen()
        self.url = make_conninfo(url, host=str(directory))
        self.cut: Cut | None = None
        self.refusing = False
        self.refuse_after_cut = False
        self.cuts = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:  # the server is away, and so the client is turned away as well
                self._close(client, server)
                continue
            self._pairs.add((client, server))
            threading.Thread(target=self._converse, args=(client, server), daemon=True).start()

    def _converse(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready, suppress(OSError):
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            lost = False
            while not lost:
                for key, _ in ready.select():
                    source = client if key.fileobj is client else server
                    data = source.recv(1 << 16)
                    lost = not data or (source is client and self._lose(data, client, server))
                    if lost:
                        break
                    (server if source is client else client).sendall(data)
        self._close(client, server)
        self._pairs.discard((client, server))

    def _lose(self, data: bytes, client: socket.socket, server: socket.socket) -> bool:
        match self.cut:
            case "before_commit" if data == _COMMIT:
                pass
            case "after_commit" if data == _COMMIT:
                server.sendall(data)
                server.recv(1 << 16)  # the reply, which the client is not to see
            case "late_commit" if data == _COMMIT:
                client.close()
                time.sleep(LATE_SECONDS)  # the client has come back by now, and waits for what this one still holds
                server.sendall(data)
                server.recv(1 << 16)
            case "any_query":
                pass
            case _:
                return False
        self.cut = None
        self.cuts += 1
        self.refusing = self.refusing or self.refuse_after_cut
        return True

    def _close(self, *pair: socket.socket) -> None:
        for end in pair:
            end.close()

    def lose_all(self) -> None:
        """Lose all connections there are, and take new ones."""
        for _, server in list(self._pairs):
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lose all connections and take no more."""
        self._listener.close()
        for pair in list(self._pairs):
            self._close(*pair)


@contextmanager
def proxy_before(url: str) -> Iterator[PostgresProxy]:
    """Run a proxy before a Postgres that is reached by a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        proxy = PostgresProxy(url, Path(directory))
        try:
            yield proxy
        finally:
            proxy.close()
