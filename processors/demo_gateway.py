"""A payment gateway to try the ledger with: one that errs and times out, and remembers what it did.

It speaks as `demo_gateway_words` has it, and `GET /health` says whether the book can be read. What a call brings about
is decided in `demo_gateway_plan`, written down and committed in `demo_gateway_book`, and only then answered here, well
or badly. A call that is left hanging holds no connection of the database.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Final

import structlog
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, MediaType, Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream
from msgspec import Struct

from processors.demo_gateway_book import SCHEMA, Book, BookUnavailable, Entry, KeyReused
from processors.demo_gateway_plan import (
    MAGIC_AMOUNTS,
    Manners,
    Reply,
    Step,
    is_of_a_later_series,
    luck_of,
    plan,
)
from processors.demo_gateway_words import (
    BODY_BYTES_MAX,
    EFFECTS_MAX,
    ID_MAX,
    BodyRefused,
    asked_of,
    effects_page,
    encode,
    key_of,
    truth,
)

RETRY_AFTER_SECONDS: Final = 2
_DRIP_SECONDS: Final = 0.2
_STOP_SECONDS_MAX: Final = 3.0

_log = structlog.get_logger("demo_gateway")


class Counter(Struct, frozen=True):
    """What the handlers share: the book, the manners, and the moment at which everybody goes home."""

    book: Book
    manners: Manners
    closing: asyncio.Event


@post("/pay")
async def pay(request: Request[Any, Any, State], state: State) -> Response[Any]:
    """Do what the plan says, and tell what the plan says, which may be something else."""
    counter: Counter = state.counter
    asked = asked_of(await request.body(), request.headers.get("idempotency-key"))
    entry, step = await counter.book.attempt(asked, partial(step_for, manners=counter.manners))
    return await _reply(step.reply, entry, counter)


@get("/payments/{payment_id:int}")
async def inquire(request: Request[Any, Any, State], state: State, payment_id: int) -> Response[Any]:
    """Say what became of a payment under one key."""
    counter: Counter = state.counter
    gateway_key = key_of(request.headers.get("idempotency-key"), payment_id=payment_id)
    entry = await counter.book.find(gateway_key=gateway_key, payment_id=payment_id)
    if entry is not None and entry.amount in MAGIC_AMOUNTS and MAGIC_AMOUNTS[entry.amount].inquiry_pending:
        return _json(200, {"status": "pending", "payment_id": payment_id})
    if entry is None or entry.decision is None:
        return _json(404, {"status": "not_found", "payment_id": payment_id})
    return _truth(entry)


@get("/effects")
async def list_effects(
    state: State,
    after: Annotated[int, Parameter(ge=0, le=ID_MAX)] = 0,
    limit: Annotated[int, Parameter(ge=1, le=EFFECTS_MAX)] = 100,
) -> Response[Any]:
    """List the money that moved; `next_after` goes on where this page ends, and is null on the last one."""
    counter: Counter = state.counter
    effects = await counter.book.effects(after=after, limit=limit + 1)
    return Response(effects_page(effects, limit=limit), media_type=MediaType.JSON, status_code=200)


@get("/health")
async def health(state: State) -> Response[Any]:
    """Say that the book can be read; 503 when it cannot."""
    counter: Counter = state.counter
    await counter.book.effects(after=0, limit=1)
    return _json(200, {"status": "ok"})


def step_for(entry: Entry, *, manners: Manners) -> Step:
    """Look up what this attempt brings about."""
    return plan(
        amount=entry.amount,
        attempt=entry.attempts,
        requeued=is_of_a_later_series(gateway_key=entry.gateway_key, payment_id=entry.payment_id),
        decided=entry.decision is not None,
        luck=luck_of(seed=manners.seed, gateway_key=entry.gateway_key, attempt=entry.attempts),
        manners=manners,
    )


def app_of(counter: Counter) -> Litestar:
    """Put the routes together over a book."""
    return Litestar(
        route_handlers=[Router("/", route_handlers=[pay, inquire, list_effects, health])],
        state=State({"counter": counter}),
        exception_handlers={BodyRefused: _on_body_refused, KeyReused: _on_key_reused, BookUnavailable: _on_no_book},
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


async def serve(
    database_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    manners: Manners,
    schema: str = SCHEMA,
    closing: asyncio.Event,
) -> None:
    """Serve until `closing` is set, and then stop promptly: calls left hanging are answered at once.

    Raises OSError, naming the port, when it is taken, and BookUnavailable when there is no database.
    """
    _make_sure_of_port(host, port)
    async with Book(database_url, schema=schema) as book:
        app = app_of(Counter(book, manners, closing))
        server = Server(app, address=host, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
        serving = asyncio.create_task(server.serve())
        waiting = asyncio.create_task(closing.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        closing.set()
        server.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            await asyncio.wait_for(serving, _STOP_SECONDS_MAX)


def run(
    database_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    manners: Manners,
    schema: str = SCHEMA,
) -> None:
    """Serve as a process of its own until SIGTERM or SIGINT."""

    async def main() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await serve(database_url, host=host, port=port, manners=manners, schema=schema, closing=closing)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def _reply(reply: Reply, entry: Entry, counter: Counter) -> Response[Any]:
    match reply:
        case Reply.TRUTH:
            return _truth(entry)
        case Reply.REFUSED:
            return _json(402, {"status": "declined", "payment_id": entry.payment_id})
        case Reply.SERVER_ERROR:
            return _json(502, {"status": "error"})
        case Reply.TURNED_AWAY:
            return _json(429, {"status": "error"}, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        case Reply.HANG:
            await _wait(counter.closing, counter.manners.hang_seconds)
            return _json(504, {"status": "timeout"})
        case Reply.GARBAGE:
            return Response("<html><h1>It works!</h1></html>", media_type=MediaType.HTML)
        case Reply.DRIP:
            return Stream(_drip(truth(entry), counter), media_type=MediaType.JSON)
        case Reply.CUT_OFF:
            whole = truth(entry)
            return Stream(_half(whole), media_type=MediaType.JSON, headers={"Content-Length": str(len(whole))})


def _truth(entry: Entry) -> Response[Any]:
    return Response(truth(entry), media_type=MediaType.JSON, status_code=200)


async def _drip(whole: bytes, counter: Counter) -> AsyncIterator[bytes]:
    """Send spaces, which JSON allows, one by one for as long as a hanging call hangs, and then the answer."""
    for _ in range(int(counter.manners.hang_seconds / _DRIP_SECONDS)):
        yield b" "
        if await _wait(counter.closing, _DRIP_SECONDS):
            break
    yield whole


async def _half(whole: bytes) -> AsyncIterator[bytes]:
    """Send less than was announced; the server then has no choice but to close the connection."""
    yield whole[: len(whole) // 2]


async def _wait(closing: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until everybody goes home; tells which."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(closing.wait(), seconds)
    return False


def _json(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response[Any]:
    return Response(encode(content), media_type=MediaType.JSON, status_code=status, headers=dict(headers or {}))


def _on_body_refused(_: Request[Any, Any, State], error: BodyRefused) -> Response[Any]:
    return _json(422, {"status": "error", "detail": str(error)})


def _on_key_reused(_: Request[Any, Any, State], __: KeyReused) -> Response[Any]:
    return _json(422, {"status": "error", "detail": "this Idempotency-Key was used for another payment"})


def _on_no_book(_: Request[Any, Any, State], error: BookUnavailable) -> Response[Any]:
    _log.warning("book unavailable", why=str(error))
    return _json(503, {"status": "error"})


def _make_sure_of_port(host: str, port: int) -> None:
    """Raise OSError when the port is taken; the server itself would share it with whoever has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(errno.EADDRINUSE, f"port {port} on {host} is taken; DEMO_GATEWAY_PORT names another") from None
