"""A payment gateway that misbehaves on purpose, in every known way. It replaces the demo gateway.

It has the demo gateway's protocol (`demo.protocol`). `scenario` draws an act for each call and inquiry from a seed,
`store` commits the act to the book, and only then `responses` answers. Calls and inquiries are misanswered. These
routes answer honestly what the gateway really did:

    GET /effects            lists the money that moved
    GET /behaviours         counts the acts by behaviour; those of inquiries begin with inquiry_
    GET /acts?key=KEY       lists the acts under one key
    GET /health             says whether the book can be read, and gives the seed
"""

import asyncio
import errno
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import structlog
from msgspec.structs import asdict

from ledger.domain.identifiers import ID_MAX
from processors.simulators.chaos.connection import (
    HEAD_BYTES_MAX,
    ClientConnection,
    HttpAnswer,
    HttpRequest,
    RequestRefused,
)
from processors.simulators.chaos.responses import ELSEWHERE, AnswerContext, plain_answer, send_answer
from processors.simulators.chaos.scenario import (
    CallWeights,
    ChaosProfile,
    DrawnAct,
    Effect,
    InquiryWeights,
    Word,
    draw_call,
    draw_inquiry,
)
from processors.simulators.chaos.store import ChaosBook
from processors.simulators.demo.protocol import (
    BODY_BYTES_MAX,
    EFFECTS_MAX,
    BodyRefused,
    effects_page,
    encode,
    key_of,
    parse_call,
)
from processors.simulators.demo.store import SCHEMA, BookUnavailable, Entry, KeyReused

CONNECTIONS_MAX: Final = 1024
_BACKLOG: Final = 1024
_STOP_SECONDS_MAX: Final = 3.0
_LATE_POLL_SECONDS_MAX: Final = 0.5
_LATE_POLL_SECONDS_MIN: Final = 0.01

_PAYMENT_PATH: Final = re.compile(r"/payments/([1-9][0-9]{0,15})")

_log = structlog.get_logger("chaos_gateway")


class ChaosGateway:
    """Serves connections, by a book and a profile, until the gateway stops."""

    def __init__(
        self,
        book: ChaosBook,
        profile: ChaosProfile,
        closing: asyncio.Event,
        process_headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Serve from an open book; `closing` is set when the gateway stops."""
        self._process_headers = tuple(process_headers.items())
        self._book = book
        self._profile = profile
        self._closing = closing
        self._serving: dict[asyncio.Task[None], ClientConnection] = {}
        self._money_is_late = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        connection = ClientConnection(reader, writer, self._closing)
        this = asyncio.current_task()
        assert this is not None, "a stream is served by a task of its own"
        if len(self._serving) >= CONNECTIONS_MAX or self._closing.is_set():
            connection.close()
            return
        self._serving[this] = connection
        try:
            while not self._closing.is_set() and await self._serve_next(connection):
                pass
        except (ConnectionError, TimeoutError, BookUnavailable):
            pass  # the client has closed, or the gateway cannot answer
        finally:
            del self._serving[this]
            connection.close()

    async def close_connections(self) -> None:
        """Close idle connections at once, and the others after their answers or after _STOP_SECONDS_MAX."""
        for connection in self._serving.values():
            if connection.idle:
                connection.close()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=_STOP_SECONDS_MAX)
            for serving in late:
                serving.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def move_late_money(self) -> None:
        """Move late money when it is due, whether or not a client asks about it. Runs until it is cancelled."""
        while True:
            self._money_is_late.clear()
            try:
                await self._book.approve_overdue()
                seconds = await self._book.seconds_until_due()
            except BookUnavailable as error:
                _log.warning("book unavailable", why=str(error))
                seconds = None
            wait = _LATE_POLL_SECONDS_MAX if seconds is None else min(seconds, _LATE_POLL_SECONDS_MAX)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._money_is_late.wait(), max(wait, _LATE_POLL_SECONDS_MIN))

    async def _serve_next(self, connection: ClientConnection) -> bool:
        try:
            request = await connection.read_request(body_bytes_max=BODY_BYTES_MAX)
        except RequestRefused as refused:
            await connection.send(_problem(refused.http_status).written(keep=False))
            return False
        if request is None:
            return False
        try:
            answer = await self._handle(request)
        except (BodyRefused, KeyReused) as refused:
            answer = _problem(422, str(refused) or "this Idempotency-Key was used for another payment")
        except BookUnavailable as error:
            _log.warning("book unavailable", why=str(error))
            answer = _problem(503)
        if isinstance(answer, AnswerContext):
            return await send_answer(connection, answer)
        await connection.send(answer.written(keep=request.keeps))
        return request.keeps

    async def _handle(self, request: HttpRequest) -> AnswerContext | HttpAnswer:
        """Carry out a request, calls and inquiries as drawn. Raises BodyRefused, KeyReused, BookUnavailable."""
        if found := _PAYMENT_PATH.fullmatch(request.path):
            if request.method != "GET":
                return _problem(405)
            return await self._inquire(request, int(found[1]))
        match request.method, request.path:
            case "POST", "/pay":
                return await self._pay(request)
            case "GET", "/effects":
                return await self._effects(request.query)
            case "GET", "/behaviours":
                return HttpAnswer(status=200, body=encode(await self._behaviours()))
            case "GET", "/acts":
                acts = await self._book.acts(gateway_key=key_of(request.query.get("key"), payment_id=0))
                return HttpAnswer(status=200, body=encode({"items": [asdict(act) for act in acts]}))
            case "GET", "/health":
                await self._book.effects(after=0, limit=1)
                body = encode({"status": "ok", "chaos_seed": self._profile.seed})
                return HttpAnswer(status=200, body=body, headers=self._process_headers)
            case _, ("/pay" | "/effects" | "/behaviours" | "/acts" | "/health"):
                return _problem(405)
            case _, path if path.startswith(ELSEWHERE):
                _log.warning("redirect followed", path=path)
                return HttpAnswer(status=200, body=encode({"status": "ok"}))
            case _:
                return _problem(404)

    async def _pay(self, request: HttpRequest) -> AnswerContext:
        call = parse_call(request.body, request.headers.get("idempotency-key"))
        entry, act = await self._book.call(
            call,
            lambda attempt: draw_call(self._profile, gateway_key=call.gateway_key, attempt=attempt),
            settle_seconds=self._profile.settle_seconds,
        )
        return self._answer_context(request, act, entry, "pending", call.gateway_key, call.payment_id)

    async def _inquire(self, request: HttpRequest, payment_id: int) -> AnswerContext:
        gateway_key = key_of(request.headers.get("idempotency-key"), payment_id=payment_id)
        entry, word, act = await self._book.inquiry(
            gateway_key=gateway_key,
            payment_id=payment_id,
            draw=lambda inquiry: draw_inquiry(self._profile, gateway_key=gateway_key, inquiry=inquiry),
        )
        return self._answer_context(request, act, entry, word, gateway_key, payment_id)

    def _answer_context(
        self, request: HttpRequest, act: DrawnAct, entry: Entry | None, word: Word, gateway_key: str, payment_id: int
    ) -> AnswerContext:
        if act.effect in {Effect.APPROVE_LATER, Effect.APPROVE_AFTER_ALL}:
            self._money_is_late.set()
        return AnswerContext(
            act=act,
            payment_id=payment_id,
            path=request.path,
            plain=plain_answer(word, entry, payment_id=payment_id),
            read_decision=partial(self._read_decision, gateway_key, payment_id),
            hang_seconds=self._profile.hang_seconds,
            keeps=request.keeps,
        )

    async def _read_decision(self, gateway_key: str, payment_id: int) -> HttpAnswer | None:
        """Read the book again; return the answer when the key has a decision now."""
        entry = await self._book.find(gateway_key=gateway_key, payment_id=payment_id)
        if entry is None or entry.decision is None:
            return None
        return plain_answer("pending", entry, payment_id=payment_id)

    async def _effects(self, query: Mapping[str, str]) -> HttpAnswer:
        after, limit = query.get("after", "0"), query.get("limit", "100")
        if not all(re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) for text in (after, limit)):
            return _problem(400)
        if int(after) > ID_MAX or not 1 <= int(limit) <= EFFECTS_MAX:
            return _problem(400)
        effects = await self._book.effects(after=int(after), limit=int(limit) + 1)
        return HttpAnswer(status=200, body=effects_page(effects, limit=int(limit)))

    async def _behaviours(self) -> dict[str, int]:
        done = await self._book.behaviours()
        calls = {name: done.get(("pay", name), 0) for name in CallWeights.__struct_fields__}
        inquiries = {f"inquiry_{name}": done.get(("inquire", name), 0) for name in InquiryWeights.__struct_fields__}
        return calls | inquiries


async def serve(
    database_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    profile: ChaosProfile,
    schema: str = SCHEMA,
    process_headers: Mapping[str, str] = MappingProxyType({}),
    closing: asyncio.Event,
) -> None:
    """Serve until `closing` is set, and then stop promptly: hanging calls are answered at once.

    `process_headers` show, with the gateway's health, which process answers.
    Raises OSError, which names the port, when another program has the port, BookUnavailable when the database does not
    answer, and psycopg.Error when the database does not contain the book any more.
    """
    async with ChaosBook(database_url, schema=schema) as book:
        gateway = ChaosGateway(book, profile, closing, process_headers)
        try:
            server = await asyncio.start_server(gateway.serve, host, port, limit=HEAD_BYTES_MAX, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                errno.EADDRINUSE, f"port {port} on {host} is taken; choose another with DEMO_GATEWAY_PORT"
            ) from None
        _log.info("chaos", seed=profile.seed)
        moving, waiting = asyncio.create_task(gateway.move_late_money()), asyncio.create_task(closing.wait())
        try:
            await asyncio.wait({moving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.set()
            server.close()
            await gateway.close_connections()
            moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving


def _problem(status: int, detail: str = "") -> HttpAnswer:
    body = encode({"status": "error"} | ({"detail": detail} if detail else {}))
    return HttpAnswer(status=HTTPStatus(status), body=body)
