"""One connection of a client, with the operations that misbehaviour needs, and HTTP/1.1 as bytes.

A web framework would close connections that should hang and complete answers that should break off, so this module
reads requests and writes answers on a plain stream. It limits everything: the size of a head and a body, the time to
receive them, and the time to send an answer.
"""

import asyncio
import os
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

HEAD_BYTES_MAX: Final = 16 * 1024
IDLE_SECONDS_MAX: Final = 30.0
"""How long a client may take to begin and send its next request. Longer than any client keeps a connection."""

SEND_SECONDS_MAX: Final = 10.0
_PIECE_BYTES: Final = 64 * 1024
_ARRIVE_SECONDS: Final = 0.05
"""How long to wait before a reset, so that the bytes sent before it arrive; a reset would otherwise overtake them."""

_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([01])")


class RequestRefused(Exception):
    """The request cannot be read; the connection must be closed after the answer."""

    def __init__(self, http_status: int) -> None:
        super().__init__(f"HTTP {http_status}")
        self.http_status = http_status


class HttpRequest(Struct, frozen=True, kw_only=True):
    """A whole request. Header names are lower case; `keeps` says whether the client keeps the connection."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    keeps: bool


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """A well-formed answer before it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def head(self, *, keep: bool = True, length: int | None = None) -> bytes:
        """Encode the head; `length` replaces the body's own length."""
        dated = () if any(name == "Date" for name, _ in self.headers) else (("Date", formatdate(usegmt=True)),)
        headers = (
            *dated,
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body) if length is None else length)),
            ("Connection", "keep-alive" if keep else "close"),
            *self.headers,
        )
        return _head(self.status, headers)

    def chunked_head(self) -> bytes:
        """Encode a head with chunked transfer encoding."""
        headers = (("Content-Type", self.content_type), ("Transfer-Encoding", "chunked"), *self.headers)
        return _head(self.status, headers)

    def written(self, *, keep: bool = True) -> bytes:
        """Encode the whole answer."""
        return self.head(keep=keep) + self.body


class ClientConnection:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closing: asyncio.Event) -> None:
        """Take a connection; `closing` is set when the gateway stops."""
        self.idle = True
        self._reader = reader
        self._writer = writer
        self._closing = closing

    async def read_request(self, *, body_bytes_max: int) -> HttpRequest | None:
        """Read the next request; None when the client has closed or takes too long. Raises RequestRefused."""
        self.idle = True
        try:
            async with asyncio.timeout(IDLE_SECONDS_MAX):
                head = await self._reader.readuntil(b"\r\n\r\n")
                self.idle = False
                return await self._rest_of(head[:-4].decode("latin-1"), body_bytes_max)
        except asyncio.LimitOverrunError:
            raise RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return None

    async def send(self, data: bytes) -> None:
        """Send raw bytes, and wait until the socket has taken them. Raises ConnectionError or TimeoutError."""
        for start in range(0, len(data), _PIECE_BYTES):
            self._writer.write(data[start : start + _PIECE_BYTES])
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._writer.drain()

    async def hang(self, seconds: float) -> bool:
        """Send nothing for `seconds` or until the gateway stops. Returns False when the client closed in that time."""
        gone = asyncio.ensure_future(self._reader.read(1))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({gone, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return not gone.done()
        finally:
            for waiting in (gone, closing):
                waiting.cancel()
            with suppress(ConnectionError, asyncio.CancelledError):
                await gone

    async def until_next_request(self) -> bool:
        """Wait for the first byte of the next request. Returns False when none arrives."""
        self.idle = True
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(IDLE_SECONDS_MAX):
                return bool(await self._reader.read(1))
        return False

    async def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until the gateway stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    @property
    def closing(self) -> bool:
        """Whether the gateway is stopping."""
        return self._closing.is_set()

    async def reset(self) -> None:
        """Close with RST instead of FIN, after a pause in which the bytes already sent can arrive."""
        await self.pause(_ARRIVE_SECONDS)
        transport = self._writer.transport
        kept = transport.get_extra_info("socket")
        if kept is not None and kept.fileno() >= 0:
            with socket.socket(fileno=os.dup(kept.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self) -> None:
        """Close the connection after the bytes already written."""
        self._writer.close()

    async def _rest_of(self, head: str, body_bytes_max: int) -> HttpRequest:
        line, _, rest = head.partition("\r\n")
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            raise RequestRefused(HTTPStatus.BAD_REQUEST)
        headers = _headers(rest)
        if "transfer-encoding" in headers:
            raise RequestRefused(HTTPStatus.LENGTH_REQUIRED)
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,10}", length, re.ASCII):
            raise RequestRefused(HTTPStatus.BAD_REQUEST)
        if int(length) > body_bytes_max:
            raise RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        path, _, query = found[2].partition("?")
        return HttpRequest(
            method=found[1],
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            body=await self._reader.readexactly(int(length)),
            keeps=found[3] == "1" and headers.get("connection", "").lower() != "close",
        )


def _headers(lines: str) -> dict[str, str]:
    headers = {}
    for line in lines.split("\r\n") if lines else []:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise RequestRefused(HTTPStatus.BAD_REQUEST)
        headers[name.lower()] = value.strip()
    return headers


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unheard Of"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")
