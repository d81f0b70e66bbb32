"""How each behaviour of the chaos gateway sounds to the one who asked.

`tell` says what is to be said about a call or an inquiry whose deed is done. Most behaviours are one well-formed answer
(`_well_formed`); the others play with the connection (`_PLAYS`), and break off, hang, or go on where nobody asked.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from processors.chaos_gateway_plan import Act, Behaviour, Word, choose
from processors.chaos_gateway_wire import HttpAnswer, Wire
from processors.demo_gateway_book import Entry
from processors.demo_gateway_words import encode, truth

ELSEWHERE: Final = "/elsewhere"
"""Where redirects lead. Whoever follows them is told ok by somebody who moves nothing."""

_LOOK_SECONDS: Final = 0.1
_DRIP_SECONDS: Final = 0.1
_LATER_SECONDS: Final = 0.05
_ONE_CHUNK: Final = b"%x\r\n%b"

_STATUSES: Final[Mapping[Behaviour, tuple[Sequence[int], Sequence[str]]]] = {
    Behaviour.REFUSE: ((400, 402, 403, 404, 410, 422), ("declined",)),
    Behaviour.REFUSE_AGAIN: ((400, 403, 422), ("error",)),
    Behaviour.SERVER_ERROR: ((500, 502, 503, 504, 599), ("error",)),
    Behaviour.NOT_NOW: ((408, 409, 425), ("error",)),
    Behaviour.SAY_PENDING: ((200, 202), ("pending", "timeout", "pending")),
}
"""Behaviours that are a status and a word."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_WAITS: Final = ("0", "1", "2", "soon")
_DATES: Final = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_CHARSETS: Final = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500")
_HUGE_BYTES: Final = (128 * 1024, 1024 * 1024, 8 * 1024 * 1024)
_NOT_JSON: Final = (
    (b"<html><h1>It works!</h1></html>", "text/html"),
    (b"OK", "text/plain"),
    (b"status=ok", "application/x-www-form-urlencoded"),
    (b"<status>ok</status>", "application/xml"),
    (b"", "application/json"),
    (b'{"status":"ok"', "application/json"),
    (b"{'status':'ok'}", "application/json"),
    (b'{"status":"ok","amount":NaN}', "application/json"),
)
_GARBAGE: Final = (
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -15\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 15\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 1_000_000 + b"\r\n\r\n",
    b"\x00" * 64,
)
_INTERIM: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
)


class Matter(Struct, frozen=True, kw_only=True):
    """What is to be told: the act, and what a plain answer would be.

    `looks` looks into the book again. `hang_seconds` is how long somebody is left hanging who is, and `keeps` tells
    whether the client would use the connection for another request.
    """

    act: Act
    payment_id: int
    path: str
    plain: HttpAnswer
    looks: Callable[[], Awaitable[HttpAnswer | None]]
    hang_seconds: float
    keeps: bool


Play = Callable[[Wire, Matter], Awaitable[bool]]
"""Plays with the connection; tells whether it may be kept."""


async def tell(wire: Wire, matter: Matter) -> bool:
    """Say what is to be said; tells whether the connection may be kept for the next request."""
    play = _PLAYS.get(matter.act.behaviour)
    if play is not None:
        return await play(wire, matter) and matter.keeps
    await wire.send(_well_formed(matter).written(keep=matter.keeps))
    return matter.keeps


def plain_answer(word: Word, entry: Entry | None, *, payment_id: int) -> HttpAnswer:
    """Write the answer of a gateway that behaves, as it stands in the book."""
    if entry is not None and entry.decision is not None:
        return HttpAnswer(status=HTTPStatus.OK, body=truth(entry))
    status = HTTPStatus.NOT_FOUND if word == "not_found" else HTTPStatus.OK
    return HttpAnswer(status=status, body=encode({"status": word, "payment_id": payment_id}))


def _well_formed(matter: Matter) -> HttpAnswer:
    behaviour, variant = matter.act.behaviour, matter.act.variant
    if behaviour in _STATUSES:
        statuses, words = _STATUSES[behaviour]
        status = choose(statuses, variant)
        wait = (("Retry-After", "1"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        return _error(status, matter, choose(words, variant), *wait)
    match behaviour:
        case Behaviour.TURN_AWAY:
            return _error(429, matter, "error", ("Retry-After", choose(_WAITS, variant)))
        case Behaviour.TURN_AWAY_UNTIL:
            now = datetime.now(UTC)
            until = (now + timedelta(seconds=2)).strftime(choose(_DATES, variant))
            return _error(429, matter, "error", ("Date", format_datetime(now, usegmt=True)), ("Retry-After", until))
        case Behaviour.BARE_404:
            return HttpAnswer(status=404, body=choose((b"", b"<html>404</html>"), variant), content_type="text/html")
        case Behaviour.REDIRECT:
            return HttpAnswer(status=choose(_REDIRECTS, variant), headers=(("Location", ELSEWHERE + matter.path),))
        case Behaviour.NOT_JSON:
            body, content_type = choose(_NOT_JSON, variant)
            return HttpAnswer(status=200, body=body, content_type=content_type)
        case Behaviour.WRONG_CHARSET:
            charset = choose(_CHARSETS, variant)
            body, content_type = matter.plain.body.decode().encode(charset), f"application/json; charset={charset}"
            return HttpAnswer(status=matter.plain.status, body=body, content_type=content_type)
        case _:
            return matter.plain


def _error(status: int, matter: Matter, word: str, *headers: tuple[str, str]) -> HttpAnswer:
    body = encode({"status": word, "payment_id": matter.payment_id})
    return HttpAnswer(status=status, body=body, headers=headers)


# --- plays -----------------------------------------------------------------------------------------------------------


async def _hang(wire: Wire, matter: Matter) -> bool:
    if await wire.hang(matter.hang_seconds):
        await wire.send(_error(504, matter, "timeout").written(keep=False))
    return False


async def _hang_until_decided(wire: Wire, matter: Matter) -> bool:
    """Say nothing until there is something to say, for whoever has the patience."""
    for _ in range(int(matter.hang_seconds / _LOOK_SECONDS)):
        if not await wire.hang(_LOOK_SECONDS) or wire.closing:
            return False
        if (answer := await matter.looks()) is not None:
            await wire.send(answer.written(keep=False))
            return False
    return False


async def _huge(wire: Wire, matter: Matter) -> bool:
    padding = b"x" * choose(_HUGE_BYTES, matter.act.variant)
    body = matter.plain.body[:-1] + b',"padding":"' + padding + b'"}'
    await wire.send(HttpAnswer(status=matter.plain.status, body=body).written())
    return True


async def _drip(wire: Wire, matter: Matter) -> bool:
    """Send spaces, which JSON allows, one by one for as long as a hanging call hangs, and then the answer."""
    spaces = int(matter.hang_seconds / _DRIP_SECONDS)
    await wire.send(matter.plain.head(length=spaces + len(matter.plain.body)))
    for _ in range(spaces):
        if not await wire.hang(_DRIP_SECONDS) or wire.closing:
            return False
        await wire.send(b" ")
    await wire.send(matter.plain.body)
    return True


async def _hang_up(wire: Wire, matter: Matter) -> bool:
    return await _close_or_reset(wire, matter)


async def _reset_in_body(wire: Wire, matter: Matter) -> bool:
    await wire.send(_half(matter))
    await wire.reset()
    return False


async def _truncated(wire: Wire, matter: Matter) -> bool:
    await wire.send(_half(matter))
    return False


async def _garbage(wire: Wire, matter: Matter) -> bool:
    await wire.send(choose(_GARBAGE, matter.act.variant))
    return False


async def _continue_first(wire: Wire, matter: Matter) -> bool:
    await wire.send(choose(_INTERIM, matter.act.variant))
    await wire.send(matter.plain.written())
    return True


async def _continue_only(wire: Wire, matter: Matter) -> bool:
    await wire.send(_INTERIM[0])
    return await _close_or_reset(wire, matter)


async def _close_after(wire: Wire, matter: Matter) -> bool:
    await wire.send(matter.plain.written(keep=True))
    return False


async def _close_on_next(wire: Wire, matter: Matter) -> bool:
    """Read nothing of the next request: it was never asked, and its caller cannot know that."""
    await wire.send(matter.plain.written(keep=True))
    if matter.keeps and await wire.until_next_request():
        return await _close_or_reset(wire, matter)
    return False


async def _answer_twice(wire: Wire, matter: Matter) -> bool:
    """Send the same answer again; whoever uses the connection for another payment is answered by it and unheard."""
    answer = matter.plain.written(keep=True)
    match choose(("at once", "later", "to the next"), matter.act.variant):
        case "at once":
            await wire.send(answer * 2)
        case "later":
            await wire.send(answer)
            await wire.pause(_LATER_SECONDS)
            await wire.send(answer)
        case _:
            await wire.send(answer)
            if matter.keeps and await wire.until_next_request():
                await wire.send(answer)
            return False
    if matter.keeps:
        await wire.until_next_request()
    return False


async def _close_or_reset(wire: Wire, matter: Matter) -> bool:
    if choose((True, False), matter.act.variant):
        await wire.reset()
    return False


def _half(matter: Matter) -> bytes:
    """Write an answer that breaks off in the middle of its body, in one of two ways; it would have been ok."""
    whole = encode({"status": "ok", "payment_id": matter.payment_id, "reference": "demo-0"})
    answer = HttpAnswer(status=HTTPStatus.OK, body=whole)
    if choose((True, False), matter.act.variant):
        return answer.head() + whole[: len(whole) // 2]
    return answer.chunked_head() + _ONE_CHUNK % (len(whole), whole)


_PLAYS: Final[Mapping[Behaviour, Play]] = {
    Behaviour.TIME_OUT: _hang,
    Behaviour.TIME_OUT_MOVED: _hang,
    Behaviour.SETTLE_LATE: _hang,
    Behaviour.EFFECT_AFTER_ALL: _hang_until_decided,
    Behaviour.HUGE_BODY: _huge,
    Behaviour.DRIP: _drip,
    Behaviour.HANG_UP: _hang_up,
    Behaviour.RESET_IN_BODY: _reset_in_body,
    Behaviour.TRUNCATED_BODY: _truncated,
    Behaviour.GARBAGE_HEAD: _garbage,
    Behaviour.CONTINUE_FIRST: _continue_first,
    Behaviour.CONTINUE_ONLY: _continue_only,
    Behaviour.CLOSE_AFTER_ANSWER: _close_after,
    Behaviour.CLOSE_ON_NEXT: _close_on_next,
    Behaviour.ANSWER_TWICE: _answer_twice,
}
