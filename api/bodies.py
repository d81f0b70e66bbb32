"""The body of a request, read whole and within bounds: of bytes, of pieces and of time.

Each piece costs the service about as much as a short request, and a body that does not come to its end costs a
connection, so both are bounded as the bytes are. What is too large is read on and thrown away for a moment, because
many clients look for an answer only when they have sent everything, and would see a broken connection instead.
"""

import asyncio
import re
from typing import Final

from litestar.datastructures import Headers
from litestar.types import Receive

from api.errors import BodyTooLarge, ContentCodingUnsupported, RequestMalformed
from api.time_limit import TimeLimit

BODY_BYTES_MAX: Final = 1024 * 1024
PIECES_MAX: Final = 10_000
BODY_SECONDS_MAX: Final = 30.0

THROWN_AWAY_BYTES_MAX: Final = 16 * 1024 * 1024
THROWN_AWAY_SECONDS_MAX: Final = 2.0

_LENGTH: Final = re.compile("[0-9]{1,18}")


async def read_body(receive: Receive, headers: Headers, time_limit: TimeLimit) -> bytes:
    """Read a body. Raises RequestMalformed, ContentCodingUnsupported, BodyTooLarge."""
    _refuse_codings(headers)
    announced = _announced_bytes(headers)
    if announced > BODY_BYTES_MAX:
        # A client that waits for "100 Continue" has not sent anything yet, and is not to be asked for it.
        if announced <= THROWN_AWAY_BYTES_MAX and "expect" not in headers:
            await _throw_away(receive)
        raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
    return await read_plain_body(receive, time_limit)


async def read_plain_body(receive: Receive, time_limit: TimeLimit) -> bytes:
    """Read a body whose headers are known to be harmless. Raises RequestMalformed, BodyTooLarge."""
    try:
        return await time_limit.keep(_read_whole(receive))
    except TimeoutError:
        why = f"its body did not come to an end within {time_limit.limit_seconds:g} seconds"
        raise RequestMalformed(why=why) from None


def _refuse_codings(headers: Headers) -> None:
    """Refuse a body that is not sent as it is. Who undoes a coding that others do not undo reads another request."""
    framing = headers.getall("transfer-encoding", [])
    if framing and [each.strip().lower() for each in framing] != ["chunked"]:
        raise RequestMalformed(why="of all Transfer-Encodings, only chunked is understood")
    coding = ", ".join(headers.getall("content-encoding", []))
    if coding.strip().lower() not in {"", "identity"}:
        raise ContentCodingUnsupported(content_coding=coding[:100])


def _announced_bytes(headers: Headers) -> int:
    announced = headers.get("content-length", "")
    return int(announced) if _LENGTH.fullmatch(announced) else 0


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
                await _throw_away(receive)
            raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
        if not more:
            return bytes(body)
    raise RequestMalformed(why=f"its body comes in more than {PIECES_MAX} pieces; send larger ones")


async def _throw_away(receive: Receive) -> None:
    """Read on until the body's end, or for a moment."""
    left_bytes = THROWN_AWAY_BYTES_MAX
    try:
        async with asyncio.timeout(THROWN_AWAY_SECONDS_MAX):
            while left_bytes > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left_bytes -= len(message.get("body", b""))
    except TimeoutError:
        return
