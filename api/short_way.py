"""The short way for payments, whose handlers are called here without the framework's layers between.

What Litestar does for a request, whatever the request is, costs more than all that is ours: headers in a structure of
their own, parameters by name, a response made of a response. A request that asks for a payment in the plainest form,
as nearly all of them do, goes the short way. Any other one goes Litestar's way, to the same handler with the same
refusals. Nothing is decided here, and nobody can tell from an answer which way it came.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from api.answers import Answer
from api.bodies import read_plain_body
from api.problems import to_response
from api.requests import LedgerRequest, decode

_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,5}")
"""How long a body of the plainest form is: not empty, and well below what a body may have."""

_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]+")
_JSON: Final = b"application/json"


class _Way(NamedTuple):
    """Where a short way leads: to a handler, called with a request, a body of its type and an idempotency key."""

    handler: HTTPRouteHandler
    call: Callable[..., Awaitable[Answer[Any]]]
    wanted: Any


class ShortWay:
    """Wraps the application: calls some of its handlers by itself, and passes on what is not for them."""

    def __init__(self, app: Litestar, handlers: Sequence[HTTPRouteHandler]) -> None:
        """Wrap what `app` does with requests; each of `handlers` takes `request`, `data` and `key`, by POST."""
        self._app: ASGIApp = app.asgi_handler
        called = {handler.fn for handler in handlers}
        self._ways = {
            route.path: _Way(handler, handler.fn, handler.parsed_data_field.annotation)
            for route in app.routes
            for handler in getattr(route, "route_handlers", ())
            if handler.fn in called
        }
        assert len(self._ways) == len(handlers), self._ways

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        way = self._ways.get(scope["path"])
        fields = None if way is None else _plain_fields(scope)
        if way is None or fields is None:
            await self._app(scope, receive, send)
            return
        cast("dict[str, Any]", scope)["route_handler"] = way.handler
        request = LedgerRequest(scope, receive, send)
        try:
            data = decode(await read_plain_body(receive, request.parts.body_time), way.wanted)
            key = fields.get(b"idempotency-key")
            answer: Answer[Any] = await way.call(request=request, data=data, key=key and key.decode("latin-1"))
            response = answer.to_asgi_response(None, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            response = to_response(request, error).to_asgi_response(None, request)
        await response(scope, receive, send)


def _plain_fields(scope: Scope) -> dict[bytes, bytes] | None:
    """Give the header fields of a POST in the plainest form: none of them twice, and a body of JSON as it is."""
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    fields = dict(headers)
    is_plain = (
        scope.get("method") == "POST"
        and not scope["query_string"]
        and not scope.get("root_path")
        and len(fields) == len(headers)
        and fields.get(b"content-type") == _JSON
        and _LENGTH.fullmatch(fields.get(b"content-length", b""))
        and _HOST.fullmatch(fields.get(b"host", b""))
        and b"transfer-encoding" not in fields
        and b"content-encoding" not in fields
        and b"expect" not in fields
    )
    return fields if is_plain else None
