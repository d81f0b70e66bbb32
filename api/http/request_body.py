"""Reads the body of a request, with limits on its bytes, its pieces and its time.

Each piece costs the service about as much as a short request, and a body that never ends costs a connection, so their
number and the time are limited as well as the bytes. Oversized bodies are drained briefly (16 MiB, 2 s) before the 413,
because many clients read no response until they have sent everything, and would see a broken connection instead.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from litestar.types import Receive

from api.errors import BodyTooLarge, ContentCodingUnsupported, RequestMalformed
from api.http.deadlines import SharedDeadline

BODY_BYTES_MAX: Final = 1024 * 1024
PIECES_MAX: Final = 10_000
BODY_SECONDS_MAX: Final = 30.0

DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
DRAIN_SECONDS_MAX: Final = 2.0

_LENGTH: Final = re.compile(b"[0-9]{1,18}")
_BODY_FIELDS: Final = frozenset({b"content-length", b"content-encoding", b"transfer-encoding", b"expect"})


RawHeaders = Iterable[tuple[bytes, bytes]]
"""The header fields of an ASGI scope. Names are in lower case."""


async def read_body(receive: Receive, headers: RawHeaders, deadline: SharedDeadline) -> bytes:
    """Read a whole body before a deadline. Raises RequestMalformed, ContentCodingUnsupported, BodyTooLarge."""
    fields = [(name, value) for name, value in headers if name in _BODY_FIELDS]
    if len(fields) != 1 or fields[0][0] != b"content-length":
        _refuse_codings(fields)
    announced = _announced_bytes(fields)
    if announced > BODY_BYTES_MAX:
        # A client that waits for "100 Continue" has sent nothing yet, and reading would make the server ask for the
        # body.
        if announced <= DRAIN_BYTES_MAX and not _values(fields, b"expect"):
            await _drain(receive)
        raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
    try:
        return await deadline.keep(_read_whole(receive))
    except TimeoutError:
        raise RequestMalformed(why=f"the body was not complete after {deadline.limit_seconds:g} seconds") from None


def _values(fields: RawHeaders, name: bytes) -> list[str]:
    """Return all values of a field."""
    return [value.decode("latin-1") for each, value in fields if each == name]


def _refuse_codings(fields: RawHeaders) -> None:
    """Refuse encoded bodies: a proxy and the service that decode differently would read two different requests."""
    framing = _values(fields, b"transfer-encoding")
    if framing and [each.strip().lower() for each in framing] != ["chunked"]:
        raise RequestMalformed(why="the only Transfer-Encoding that the service accepts is chunked")
    coding = ", ".join(_values(fields, b"content-encoding"))
    if coding.strip().lower() not in {"", "identity"}:
        raise ContentCodingUnsupported


def _announced_bytes(fields: RawHeaders) -> int:
    """Return the first announced length, 0 without one."""
    for name, value in fields:
        if name == b"content-length":
            return int(value) if _LENGTH.fullmatch(value) else 0
    return 0


async def _read_whole(receive: Receive) -> bytes:
    body = bytearray()
    for _ in range(PIECES_MAX):
        message = await receive()
        if message["type"] != "http.request":
            raise RequestMalformed(why="the connection was closed before the end of the body")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            if more:
                await _drain(receive)
            raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
        if not more:
            return bytes(body)
    raise RequestMalformed(why=f"the body came in more than {PIECES_MAX} pieces; send larger pieces")


async def _drain(receive: Receive) -> None:
    """Read and discard the rest of the body, up to DRAIN_BYTES_MAX and DRAIN_SECONDS_MAX."""
    left_bytes = DRAIN_BYTES_MAX
    try:
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            while left_bytes > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left_bytes -= len(message.get("body", b""))
    except TimeoutError:
        return
