"""One connection of a client, with the few verbs that misbehaviour is written in; and HTTP/1.1 as bytes.

A framework would close what should hang and complete what should break off, so requests are read and answers written
here, on a bare stream. Everything is bounded: a head, a body, the time to send them, the time to take an answer.
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
"""How long a client may take for its next request, and for sending it. Longer than any client keeps a connection."""

SEND_SECONDS_MAX: Final = 10.0
_PIECE_BYTES: Final = 64 * 1024
_ARRIVE_SECONDS: Final = 0.05
"""How long what was sent has to arrive before a reset, which would otherwise overtake it."""

_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([01])")


class RequestRefused(Exception):
    """The request cannot be read; the connection has to be closed after the answer."""

    def __init__(self, http_status: int) -> None:
        super().__init__(f"HTTP {http_status}")
        self.http_status = http_status


class HttpRequest(Struct, frozen=True, kw_only=True):
    """A whole request. Names of headers are in small letters; `keeps` says whether the connection may be kept."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    keeps: bool


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """A well-formed answer, yet to be written."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def head(self, *, keep: bool = True, length: int | None = None) -> bytes:
        """Write the head; `length` is another length than the body's own."""
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
        """Write a head that announces chunks."""
        headers = (("Content-Type", self.content_type), ("Transfer-Encoding", "chunked"), *self.headers)
        return _head(self.status, headers)

    def written(self, *, keep: bool = True) -> bytes:
        """Write the whole answer."""
        return self.head(keep=keep) + self.body


class Wire:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closing: asyncio.Event) -> None:
        """Take over a connection; `closing` is the moment at which everybody goes home."""
        self.idle = True
        self._reader = reader
        self._writer = writer
        self._closing = closing

    async def read_request(self, *, body_bytes_max: int) -> HttpRequest | None:
        """Read the next request; None when the client has gone or takes too long. Raises RequestRefused."""
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
        """Send bytes as they are, and see them taken. Raises ConnectionError, TimeoutError when the client has gone."""
        for start in range(0, len(data), _PIECE_BYTES):
            self._writer.write(data[start : start + _PIECE_BYTES])
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._writer.drain()

    async def hang(self, seconds: float) -> bool:
        """Say nothing for so long, or until everybody goes home; false when the client has gone meanwhile."""
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
        """Wait for the first byte of the next request; false when none comes."""
        self.idle = True
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(IDLE_SECONDS_MAX):
                return bool(await self._reader.read(1))
        return False

    async def pause(self, seconds: float) -> None:
        """Let time pass, unless everybody goes home."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    @property
    def closing(self) -> bool:
        """Whether everybody goes home."""
        return self._closing.is_set()

    async def reset(self) -> None:
        """Close so that the client gets RST instead of FIN, after what was sent has had time to arrive."""
        await self.pause(_ARRIVE_SECONDS)
        transport = self._writer.transport
        kept = transport.get_extra_info("socket")
        if kept is not None and kept.fileno() >= 0:
            with socket.socket(fileno=os.dup(kept.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self) -> None:
        """Close, once what was sent is on its way."""
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
