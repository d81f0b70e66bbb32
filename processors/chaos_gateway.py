"""A payment gateway that lies on purpose: it stands in for the demo gateway and does all that gateways do wrong.

It speaks as `demo_gateway_words` has it. What is done to whom is decided in `chaos_gateway_plan`, by a seed; it is
written down and committed in `chaos_gateway_book`, and only then told, as `chaos_gateway_tellings` has it. Calls and
inquiries are its victims; whoever wants to know what it really did gets honest answers:

    GET /effects            lists the money that moved
    GET /behaviours         counts what was done, by behaviour; those of inquiries begin with inquiry_
    GET /acts?key=KEY       lists what was done to one key
    GET /health             says whether the book can be read, and what the seed is
"""

import asyncio
import errno
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
import uvloop
from msgspec.structs import asdict

from processors.chaos_gateway_book import ChaosBook
from processors.chaos_gateway_plan import Act, CallWeights, Deed, InquiryWeights, Temper, Word, draw_call, draw_inquiry
from processors.chaos_gateway_tellings import ELSEWHERE, Matter, plain_answer, tell
from processors.chaos_gateway_wire import HEAD_BYTES_MAX, HttpAnswer, HttpRequest, RequestRefused, Wire
from processors.demo_gateway_book import SCHEMA, BookUnavailable, Entry, KeyReused
from processors.demo_gateway_words import (
    BODY_BYTES_MAX,
    EFFECTS_MAX,
    ID_MAX,
    BodyRefused,
    asked_of,
    effects_page,
    encode,
    key_of,
)

CONNECTIONS_MAX: Final = 1024
_BACKLOG: Final = 1024
_STOP_SECONDS_MAX: Final = 3.0
_LATE_LOOK_SECONDS_MAX: Final = 0.5
_LATE_LOOK_SECONDS_MIN: Final = 0.01

_PAYMENT_PATH: Final = re.compile(r"/payments/([1-9][0-9]{0,15})")

_log = structlog.get_logger("chaos_gateway")


class ChaosGateway:
    """What serves each connection: the book, the temper, and the moment at which everybody goes home."""

    def __init__(self, book: ChaosBook, temper: Temper, closing: asyncio.Event) -> None:
        """Serve from an open book."""
        self._book = book
        self._temper = temper
        self._closing = closing
        self._serving: dict[asyncio.Task[None], Wire] = {}
        self._money_is_late = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        wire = Wire(reader, writer, self._closing)
        this = asyncio.current_task()
        assert this is not None, "a stream is served by a task of its own"
        if len(self._serving) >= CONNECTIONS_MAX or self._closing.is_set():
            wire.close()
            return
        self._serving[this] = wire
        try:
            while not self._closing.is_set() and await self._serve_next(wire):
                pass
        except (ConnectionError, TimeoutError, BookUnavailable):
            pass  # there is nobody to talk to, or nothing to say
        finally:
            del self._serving[this]
            wire.close()

    async def go_home(self) -> None:
        """Let what is being said be said, and close the rest."""
        for wire in self._serving.values():
            if wire.idle:
                wire.close()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=_STOP_SECONDS_MAX)
            for serving in late:
                serving.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def move_late_money(self) -> None:
        """See to it that money that is on its way moves in time, whether somebody asks or not."""
        while True:
            self._money_is_late.clear()
            try:
                await self._book.approve_overdue()
                seconds = await self._book.seconds_until_due()
            except BookUnavailable as error:
                _log.warning("book unavailable", why=str(error))
                seconds = None
            wait = _LATE_LOOK_SECONDS_MAX if seconds is None else min(seconds, _LATE_LOOK_SECONDS_MAX)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._money_is_late.wait(), max(wait, _LATE_LOOK_SECONDS_MIN))

    async def _serve_next(self, wire: Wire) -> bool:
        try:
            request = await wire.read_request(body_bytes_max=BODY_BYTES_MAX)
        except RequestRefused as refused:
            await wire.send(_problem(refused.http_status).written(keep=False))
            return False
        if request is None:
            return False
        try:
            told = await self._misbehave(request)
        except (BodyRefused, KeyReused) as refused:
            told = _problem(422, str(refused) or "this Idempotency-Key was used for another payment")
        except BookUnavailable as error:
            _log.warning("book unavailable", why=str(error))
            told = _problem(503)
        if isinstance(told, Matter):
            return await tell(wire, told)
        await wire.send(told.written(keep=request.keeps))
        return request.keeps

    async def _misbehave(self, request: HttpRequest) -> Matter | HttpAnswer:
        """Do what is asked for, or what is drawn instead. Raises BodyRefused, KeyReused, BookUnavailable."""
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
                return HttpAnswer(status=200, body=encode({"status": "ok", "chaos_seed": self._temper.seed}))
            case _, ("/pay" | "/effects" | "/behaviours" | "/acts" | "/health"):
                return _problem(405)
            case _, path if path.startswith(ELSEWHERE):
                _log.warning("redirect followed", path=path)
                return HttpAnswer(status=200, body=encode({"status": "ok"}))
            case _:
                return _problem(404)

    async def _pay(self, request: HttpRequest) -> Matter:
        asked = asked_of(request.body, request.headers.get("idempotency-key"))
        entry, act = await self._book.call(
            asked,
            lambda attempt: draw_call(self._temper, gateway_key=asked.gateway_key, attempt=attempt),
            settle_seconds=self._temper.settle_seconds,
        )
        return self._matter(request, act, entry, "pending", asked.gateway_key, asked.payment_id)

    async def _inquire(self, request: HttpRequest, payment_id: int) -> Matter:
        gateway_key = key_of(request.headers.get("idempotency-key"), payment_id=payment_id)
        entry, word, act = await self._book.inquiry(
            gateway_key=gateway_key,
            payment_id=payment_id,
            draw=lambda inquiry: draw_inquiry(self._temper, gateway_key=gateway_key, inquiry=inquiry),
        )
        return self._matter(request, act, entry, word, gateway_key, payment_id)

    def _matter(
        self, request: HttpRequest, act: Act, entry: Entry | None, word: Word, gateway_key: str, payment_id: int
    ) -> Matter:
        if act.deed in {Deed.APPROVE_LATER, Deed.APPROVE_AFTER_ALL}:
            self._money_is_late.set()
        return Matter(
            act=act,
            payment_id=payment_id,
            path=request.path,
            plain=plain_answer(word, entry, payment_id=payment_id),
            looks=partial(self._look, gateway_key, payment_id),
            hang_seconds=self._temper.hang_seconds,
            keeps=request.keeps,
        )

    async def _look(self, gateway_key: str, payment_id: int) -> HttpAnswer | None:
        """Look whether something has been decided meanwhile."""
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
    temper: Temper,
    schema: str = SCHEMA,
    closing: asyncio.Event,
) -> None:
    """Serve until `closing` is set, and then stop promptly: calls left hanging are answered at once.

    Raises OSError, naming the port, when it is taken, BookUnavailable when there is no database, and what psycopg
    raises when there is a database and no book in it any more.
    """
    async with ChaosBook(database_url, schema=schema) as book:
        gateway = ChaosGateway(book, temper, closing)
        try:
            server = await asyncio.start_server(gateway.serve, host, port, limit=HEAD_BYTES_MAX, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                errno.EADDRINUSE, f"port {port} on {host} is taken; DEMO_GATEWAY_PORT names another"
            ) from None
        _log.info("chaos", seed=temper.seed)
        moving, waiting = asyncio.create_task(gateway.move_late_money()), asyncio.create_task(closing.wait())
        try:
            await asyncio.wait({moving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.set()
            server.close()
            await gateway.go_home()
            moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving


def run(
    database_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    temper: Temper,
    schema: str = SCHEMA,
) -> None:
    """Serve as a process of its own until SIGTERM or SIGINT."""

    async def main() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await serve(database_url, host=host, port=port, temper=temper, schema=schema, closing=closing)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _problem(status: int, detail: str = "") -> HttpAnswer:
    body = encode({"status": "error"} | ({"detail": detail} if detail else {}))
    return HttpAnswer(status=HTTPStatus(status), body=body)
