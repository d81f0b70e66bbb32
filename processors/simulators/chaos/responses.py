"""The answer of the chaos gateway for each behaviour.

`send_answer` answers a call or an inquiry whose effect is already committed. Most behaviours are one well-formed answer
(`_well_formed`). The others misuse the connection (`_CONNECTION_BEHAVIOURS`): they break off, hang, or send bytes that
no request asked for.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from processors.simulators.chaos.connection import ClientConnection, HttpAnswer
from processors.simulators.chaos.scenario import Behaviour, DrawnAct, Word, choose
from processors.simulators.demo.protocol import encode, truth
from processors.simulators.demo.store import Entry

ELSEWHERE: Final = "/elsewhere"
"""The target of redirects. It answers ok to a client that follows them, and moves no money."""

_POLL_SECONDS: Final = 0.1
_DRIP_SECONDS: Final = 0.1
_LATER_SECONDS: Final = 0.05
_ONE_CHUNK: Final = b"%x\r\n%b"

_STATUSES: Final[Mapping[Behaviour, tuple[Sequence[int], Sequence[str]]]] = {
    Behaviour.REFUSE: ((400, 402, 403, 404, 410, 422), ("declined",)),
    Behaviour.REFUSE_AGAIN: ((400, 403, 422), ("error",)),
    Behaviour.DUPLICATE: ((422,), ("duplicate",)),
    Behaviour.SERVER_ERROR: ((500, 502, 503, 504, 599), ("error",)),
    Behaviour.NOT_NOW: ((408, 409, 425), ("error",)),
    Behaviour.SAY_PENDING: ((200, 202), ("pending", "timeout", "pending")),
}
"""The statuses and words of behaviours that are an error answer."""

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


class AnswerContext(Struct, frozen=True, kw_only=True):
    """The facts for an answer: the drawn act, and the answer of a well-behaved gateway.

    `read_decision` reads the book again. `hang_seconds` is how long a hanging call hangs, and `keeps` says whether the
    client keeps the connection for another request.
    """

    act: DrawnAct
    payment_id: int
    path: str
    plain: HttpAnswer
    read_decision: Callable[[], Awaitable[HttpAnswer | None]]
    hang_seconds: float
    keeps: bool


ConnectionBehaviour = Callable[[ClientConnection, AnswerContext], Awaitable[bool]]
"""Answers by using or misusing the connection; returns whether the connection may be kept."""


async def send_answer(connection: ClientConnection, context: AnswerContext) -> bool:
    """Answer as the act's behaviour demands; returns whether the connection may be kept for the next request."""
    behave = _CONNECTION_BEHAVIOURS.get(context.act.behaviour)
    if behave is not None:
        return await behave(connection, context) and context.keeps
    await connection.send(_well_formed(context).written(keep=context.keeps))
    return context.keeps


def plain_answer(word: Word, entry: Entry | None, *, payment_id: int) -> HttpAnswer:
    """Make the answer of a well-behaved gateway, by the entry in the book."""
    if entry is not None and entry.decision is not None:
        return HttpAnswer(status=HTTPStatus.OK, body=truth(entry))
    status = HTTPStatus.NOT_FOUND if word == "not_found" else HTTPStatus.OK
    return HttpAnswer(status=status, body=encode({"status": word, "payment_id": payment_id}))


def _well_formed(context: AnswerContext) -> HttpAnswer:
    behaviour, variant = context.act.behaviour, context.act.variant
    if behaviour in _STATUSES:
        statuses, words = _STATUSES[behaviour]
        status = choose(statuses, variant)
        wait = (("Retry-After", "1"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        return _error(status, context, choose(words, variant), *wait)
    match behaviour:
        case Behaviour.TURN_AWAY:
            return _error(429, context, "error", ("Retry-After", choose(_WAITS, variant)))
        case Behaviour.TURN_AWAY_UNTIL:
            now = datetime.now(UTC)
            until = (now + timedelta(seconds=2)).strftime(choose(_DATES, variant))
            return _error(429, context, "error", ("Date", format_datetime(now, usegmt=True)), ("Retry-After", until))
        case Behaviour.BARE_404:
            return HttpAnswer(status=404, body=choose((b"", b"<html>404</html>"), variant), content_type="text/html")
        case Behaviour.REDIRECT:
            return HttpAnswer(status=choose(_REDIRECTS, variant), headers=(("Location", ELSEWHERE + context.path),))
        case Behaviour.NOT_JSON:
            body, content_type = choose(_NOT_JSON, variant)
            return HttpAnswer(status=200, body=body, content_type=content_type)
        case Behaviour.WRONG_CHARSET:
            charset = choose(_CHARSETS, variant)
            body, content_type = context.plain.body.decode().encode(charset), f"application/json; charset={charset}"
            return HttpAnswer(status=context.plain.status, body=body, content_type=content_type)
        case _:
            return context.plain


def _error(status: int, context: AnswerContext, word: str, *headers: tuple[str, str]) -> HttpAnswer:
    body = encode({"status": word, "payment_id": context.payment_id})
    return HttpAnswer(status=status, body=body, headers=headers)


# --- behaviours of the connection ------------------------------------------------------------------------------------


async def _hang(connection: ClientConnection, context: AnswerContext) -> bool:
    if await connection.hang(context.hang_seconds):
        await connection.send(_error(504, context, "timeout").written(keep=False))
    return False


async def _hang_until_decided(connection: ClientConnection, context: AnswerContext) -> bool:
    """Send nothing until the book has a decision, and then send it, if the client still waits."""
    for _ in range(int(context.hang_seconds / _POLL_SECONDS)):
        if not await connection.hang(_POLL_SECONDS) or connection.closing:
            return False
        if (answer := await context.read_decision()) is not None:
            await connection.send(answer.written(keep=False))
            return False
    return False


async def _huge(connection: ClientConnection, context: AnswerContext) -> bool:
    padding = b"x" * choose(_HUGE_BYTES, context.act.variant)
    body = context.plain.body[:-1] + b',"padding":"' + padding + b'"}'
    await connection.send(HttpAnswer(status=context.plain.status, body=body).written())
    return True


async def _drip(connection: ClientConnection, context: AnswerContext) -> bool:
    """Send spaces, which JSON allows, one by one for `hang_seconds`, and then the answer."""
    spaces = int(context.hang_seconds / _DRIP_SECONDS)
    await connection.send(context.plain.head(length=spaces + len(context.plain.body)))
    for _ in range(spaces):
        if not await connection.hang(_DRIP_SECONDS) or connection.closing:
            return False
        await connection.send(b" ")
    await connection.send(context.plain.body)
    return True


async def _hang_up(connection: ClientConnection, context: AnswerContext) -> bool:
    return await _close_or_reset(connection, context)


async def _reset_in_body(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(_half(context))
    await connection.reset()
    return False


async def _truncated(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(_half(context))
    return False


async def _garbage(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(choose(_GARBAGE, context.act.variant))
    return False


async def _continue_first(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(choose(_INTERIM, context.act.variant))
    await connection.send(context.plain.written())
    return True


async def _continue_only(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(_INTERIM[0])
    return await _close_or_reset(connection, context)


async def _close_after(connection: ClientConnection, context: AnswerContext) -> bool:
    await connection.send(context.plain.written(keep=True))
    return False


async def _close_on_next(connection: ClientConnection, context: AnswerContext) -> bool:
    """Close when the next request arrives, without reading it; its client cannot know that it was never read."""
    await connection.send(context.plain.written(keep=True))
    if context.keeps and await connection.until_next_request():
        return await _close_or_reset(connection, context)
    return False


async def _answer_twice(connection: ClientConnection, context: AnswerContext) -> bool:
    """Send the same answer twice. A client that keeps the connection may take the second one for another payment's."""
    answer = context.plain.written(keep=True)
    match choose(("at once", "later", "to the next"), context.act.variant):
        case "at once":
            await connection.send(answer * 2)
        case "later":
            await connection.send(answer)
            await connection.pause(_LATER_SECONDS)
            await connection.send(answer)
        case _:
            await connection.send(answer)
            if context.keeps and await connection.until_next_request():
                await connection.send(answer)
            return False
    if context.keeps:
        await connection.until_next_request()
    return False


async def _close_or_reset(connection: ClientConnection, context: AnswerContext) -> bool:
    if choose((True, False), context.act.variant):
        await connection.reset()
    return False


def _half(context: AnswerContext) -> bytes:
    """Encode an ok answer that breaks off in the middle of its body, in one of two ways."""
    whole = encode({"status": "ok", "payment_id": context.payment_id, "reference": "demo-0"})
    answer = HttpAnswer(status=HTTPStatus.OK, body=whole)
    if choose((True, False), context.act.variant):
        return answer.head() + whole[: len(whole) // 2]
    return answer.chunked_head() + _ONE_CHUNK % (len(whole), whole)


_CONNECTION_BEHAVIOURS: Final[Mapping[Behaviour, ConnectionBehaviour]] = {
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
