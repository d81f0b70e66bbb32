"""A proxy in front of Postgres that loses connections at a chosen moment of the protocol.

It listens on a Unix socket of its own and forwards bytes in both directions. It understands only the part of the
protocol that it needs: a simple query is a message `Q`, and a COMMIT is a query with that text. Each cut that it is
told to make, it makes once.
"""

import selectors
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Cut = Literal["before_commit", "after_commit", "late_commit", "any_query"]
"""When a connection is lost.

Before the COMMIT reaches the server; before its reply reaches the client; before the COMMIT, which the server gets
later; or at any query.
"""

LATE_SECONDS = 0.3
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class PostgresProxy:
    """The proxy. Connect through `url`; `cut` is the moment at which the next connection that reaches it is lost.

    With `cut_application`, that is the next connection of the application with this name: a writer, say, has a second
    session in its process, which sends wake-ups at any time.
    """

    def __init__(self, url: str, directory: Path) -> None:
        given = conninfo_to_dict(url)
        port = str(given.get("port") or 5432)
        self._target = f"{given['host']}/.s.PGSQL.{port}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / f".s.PGSQL.{port}"))
        self._listener.listen()
        self.url = make_conninfo(url, host=str(directory))
        self.cut: Cut | None = None
        self.cut_application: str | None = None
        self.refusing = False
        self.refuse_after_cut = False
        self.lost: Counter[Cut] = Counter()
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
            except OSError:  # the server cannot be reached, so the client is refused too
                self._close(client, server)
                continue
            self._pairs.add((client, server))
            threading.Thread(target=self._converse, args=(client, server), daemon=True).start()

    def _converse(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready, suppress(OSError):
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            lost = False
            startup = b""
            while not lost:
                for key, _ in ready.select():
                    source = client if key.fileobj is client else server
                    data = source.recv(1 << 16)
                    startup = startup or data  # the client speaks first
                    lost = not data or (
                        source is client and self._may_cut(startup) and self._lose(data, client, server)
                    )
                    if lost:
                        break
                    (server if source is client else client).sendall(data)
        self._close(client, server)
        self._pairs.discard((client, server))

    def _may_cut(self, startup: bytes) -> bool:
        wanted = self.cut_application
        return wanted is None or b"application_name\0%s\0" % wanted.encode() in startup

    def _lose(self, data: bytes, client: socket.socket, server: socket.socket) -> bool:
        cut = self.cut
        if cut is None or (data != _COMMIT and cut != "any_query"):
            return False
        self.cut = None  # before the client can send the next COMMIT on its new connection
        self.lost[cut] += 1
        if cut == "late_commit":
            client.close()
            time.sleep(LATE_SECONDS)  # by now the client has reconnected, and waits for this session's lock
        if cut in {"after_commit", "late_commit"}:
            server.sendall(data)
            server.recv(1 << 16)  # the reply, which the client must not see
        self.refusing = self.refusing or self.refuse_after_cut
        return True

    def _close(self, *pair: socket.socket) -> None:
        for end in pair:
            end.close()

    @property
    def cuts(self) -> int:
        """How many connections were lost as it was told."""
        return self.lost.total()

    def lose_all(self) -> None:
        """Lose all open connections, and accept new ones."""
        for _, server in list(self._pairs):
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lose all connections and accept no more."""
        self._listener.close()
        for pair in list(self._pairs):
            self._close(*pair)


@contextmanager
def proxy_before(url: str) -> Iterator[PostgresProxy]:
    """Run a proxy in front of a Postgres that listens on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        proxy = PostgresProxy(url, Path(directory))
        try:
            yield proxy
        finally:
            proxy.close()
