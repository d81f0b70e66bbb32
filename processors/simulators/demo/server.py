"""A payment gateway for trying the ledger: it fails and times out, and keeps a book of its effects.

`protocol` describes its routes; `GET /health` says whether the book can be read. For each call, `scenario` decides the
step, `store` commits it to the book, and only then the server replies, correctly or not. A hanging call holds no
database connection.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Final

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, MediaType, Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream
from msgspec import Struct

from ledger.domain.identifiers import ID_MAX
from processors.simulators.demo.protocol import (
    BODY_BYTES_MAX,
    EFFECTS_MAX,
    BodyRefused,
    effects_page,
    encode,
    key_of,
    parse_call,
    truth,
)
from processors.simulators.demo.scenario import (
    MAGIC_AMOUNTS,
    DemoProfile,
    Reply,
    Step,
    is_of_a_later_series,
    luck_of,
    plan,
)
from processors.simulators.demo.store import SCHEMA, Book, BookUnavailable, Entry, KeyReused

RETRY_AFTER_SECONDS: Final = 2
_DRIP_SECONDS: Final = 0.2
_STOP_SECONDS_MAX: Final = 3.0

_log = structlog.get_logger("demo_gateway")


class DemoGateway(Struct, frozen=True):
    """The objects that all handlers use: the book, the profile, and an event that is set when the gateway stops."""

    book: Book
    profile: DemoProfile
    closing: asyncio.Event


@post("/pay")
async def pay(request: Request[Any, Any, State], state: State) -> Response[Any]:
    """Carry out the step that the plan gives for this attempt, and send the step's reply, which may be untrue."""
    gateway: DemoGateway = state.gateway
    call = parse_call(await request.body(), request.headers.get("idempotency-key"))
    entry, step = await gateway.book.attempt(call, partial(step_for, profile=gateway.profile))
    return await _reply(step.reply, entry, gateway)


@get("/payments/{payment_id:int}")
async def inquire(request: Request[Any, Any, State], state: State, payment_id: int) -> Response[Any]:
    """Answer with the outcome of a payment under one key."""
    gateway: DemoGateway = state.gateway
    gateway_key = key_of(request.headers.get("idempotency-key"), payment_id=payment_id)
    entry = await gateway.book.find(gateway_key=gateway_key, payment_id=payment_id)
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
    """List the money that moved; `next_after` begins the next page and is null on the last one."""
    gateway: DemoGateway = state.gateway
    effects = await gateway.book.effects(after=after, limit=limit + 1)
    return Response(effects_page(effects, limit=limit), media_type=MediaType.JSON, status_code=200)


@get("/health")
async def health(state: State) -> Response[Any]:
    """Answer 200 when the book can be read, and 503 when it cannot."""
    gateway: DemoGateway = state.gateway
    await gateway.book.effects(after=0, limit=1)
    return _json(200, {"status": "ok"}, state.process_headers)


def step_for(entry: Entry, *, profile: DemoProfile) -> Step:
    """Return the step of this attempt."""
    return plan(
        amount=entry.amount,
        attempt=entry.attempts,
        requeued=is_of_a_later_series(gateway_key=entry.gateway_key, payment_id=entry.payment_id),
        decided=entry.decision is not None,
        luck=luck_of(seed=profile.seed, gateway_key=entry.gateway_key, attempt=entry.attempts),
        profile=profile,
    )


def app_of(gateway: DemoGateway, process_headers: Mapping[str, str] = MappingProxyType({})) -> Litestar:
    """Make the application that serves a book; `process_headers` show, with its health, which process answers."""
    return Litestar(
        route_handlers=[Router("/", route_handlers=[pay, inquire, list_effects, health])],
        state=State({"gateway": gateway, "process_headers": process_headers}),
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
    profile: DemoProfile,
    schema: str = SCHEMA,
    process_headers: Mapping[str, str] = MappingProxyType({}),
    closing: asyncio.Event,
) -> None:
    """Serve until `closing` is set, and then stop promptly: hanging calls are answered at once.

    `process_headers` show, with the gateway's health, which process answers.
    Raises OSError, which names the port, when another program has the port, and BookUnavailable when the database does
    not answer.
    """
    _check_port(host, port)
    async with Book(database_url, schema=schema) as book:
        app = app_of(DemoGateway(book, profile, closing), process_headers)
        server = Server(app, address=host, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
        serving = asyncio.create_task(server.serve())
        waiting = asyncio.create_task(closing.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        closing.set()
        server.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            await asyncio.wait_for(serving, _STOP_SECONDS_MAX)


async def _reply(reply: Reply, entry: Entry, gateway: DemoGateway) -> Response[Any]:
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
            await _wait(gateway.closing, gateway.profile.hang_seconds)
            return _json(504, {"status": "timeout"})
        case Reply.GARBAGE:
            return Response("<html><h1>It works!</h1></html>", media_type=MediaType.HTML)
        case Reply.DRIP:
            return Stream(_drip(truth(entry), gateway), media_type=MediaType.JSON)
        case Reply.CUT_OFF:
            whole = truth(entry)
            return Stream(_half(whole), media_type=MediaType.JSON, headers={"Content-Length": str(len(whole))})


def _truth(entry: Entry) -> Response[Any]:
    return Response(truth(entry), media_type=MediaType.JSON, status_code=200)


async def _drip(whole: bytes, gateway: DemoGateway) -> AsyncIterator[bytes]:
    """Send spaces, which JSON allows, one by one for `hang_seconds`, and then the answer."""
    for _ in range(int(gateway.profile.hang_seconds / _DRIP_SECONDS)):
        yield b" "
        if await _wait(gateway.closing, _DRIP_SECONDS):
            break
    yield whole


async def _half(whole: bytes) -> AsyncIterator[bytes]:
    """Send fewer bytes than Content-Length announces; the server must then close the connection."""
    yield whole[: len(whole) // 2]


async def _wait(closing: asyncio.Event, seconds: float) -> bool:
    """Wait for `seconds` or until the gateway stops. Returns True when the gateway stops."""
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


def _check_port(host: str, port: int) -> None:
    """Raise OSError when the port is taken; the server itself would share it with the program that has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        why = f"port {port} on {host} is taken; choose another with DEMO_GATEWAY_PORT"
        raise OSError(errno.EADDRINUSE, why) from None
