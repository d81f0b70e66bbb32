"""A server that misbehaves on purpose: raw sockets, one thread per connection, and no HTTP library that forbids it.

Each connection is handed to a behaviour: a plain function of that connection, which reads a request or not and sends
any bytes. The server counts connections and keeps every request that it read, so that a test can assert that a request
was sent, or was not.
"""

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from tests.support.ports import free_port


class Connection:
    """One accepted connection, with the few methods that behaviours are built from."""

    def __init__(self, server: "MisbehavingServer", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self._ahead = b""

    def read_request(self) -> bytes:
        """Read one whole request, head and body, and record it on the server. Empty if the client is gone."""
        while b"\r\n\r\n" not in self._ahead:
            if not self._read_more():
                return b""
        head, _, rest = self._ahead.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
        body_bytes = int(length[1]) if length else 0
        while len(rest) < body_bytes:
            if not self._read_more():
                return b""
            rest = self._ahead.partition(b"\r\n\r\n")[2]
        request = head + b"\r\n\r\n" + rest[:body_bytes]
        self._ahead = rest[body_bytes:]
        self.server.requests.append(request)
        self.server.heard.set()
        return request

    def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises OSError if the client has hung up."""
        self.sock.sendall(data)

    def reset(self) -> None:
        """Close so that the client gets RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def hold(self) -> None:
        """Keep the connection open without sending, until the client closes it or the test ends."""
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass

    def pause(self, seconds: float) -> bool:
        """Wait between two bytes. True if the test is over and the behaviour must stop too."""
        return self.server.over.wait(seconds)

    def _read_more(self) -> bool:
        more = self.sock.recv(65536)
        self._ahead += more
        return bool(more)


Behaviour = Callable[[Connection], None]


class MisbehavingServer:
    """Listens on 127.0.0.1 for as long as the `with` block lasts, without `port` on one of its own.

    With `tls`, it speaks HTTPS.
    """

    def __init__(self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, port: int | None = None) -> None:
        self.behaviour = behaviour
        self._tls = tls
        self.connections = 0
        self.requests: list[bytes] = []
        self.heard = threading.Event()
        self.over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", free_port() if port is None else port))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where to send requests."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                self._start(partial(self._serve, sock))

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            stream = sock if self._tls is None else self._tls.wrap_socket(sock, server_side=True)
            with stream:
                self.behaviour(Connection(self, stream))

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


def answering(raw: bytes) -> Behaviour:
    """Read each request and answer it with exactly these bytes, keeping the connection open."""

    def behave(connection: Connection) -> None:
        while connection.read_request():
            connection.send(raw)

    return behave


def closing_after(raw: bytes) -> Behaviour:
    """Read one request, send these bytes and close."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(raw)

    return behave


def resetting_after(raw: bytes) -> Behaviour:
    """Read one request, send these bytes, wait until they have arrived, and reset the connection."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(raw)
        connection.pause(0.05 if raw else 0)
        connection.reset()

    return behave


def closing_before_reading(connection: Connection) -> None:
    """Accept a connection and close it at once."""
    connection.sock.close()


def resetting_before_reading(connection: Connection) -> None:
    """Accept a connection and reset it at once."""
    connection.reset()


def never_answering(connection: Connection) -> None:
    """Read the request and send nothing."""
    connection.read_request()
    connection.hold()


def dripping(raw: bytes, *, sent_at_once: int = 0) -> Behaviour:
    """Send the first bytes at once and the rest one by one, so that no single wait is long."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(raw[:sent_at_once])
        for position in range(sent_at_once, len(raw)):
            if connection.pause(0.02):
                return
            connection.send(raw[position : position + 1])
        connection.hold()

    return behave


def repeating(head: bytes, piece: bytes, *, times: int) -> Behaviour:
    """Send a head and then the same piece many times."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(head)
        for _ in range(times):
            connection.send(piece)

    return behave


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Build a well-formed response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
