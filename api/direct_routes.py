"""Routes whose handlers are called directly, without the framework's layers around each call.

Litestar's own dispatch costs more for a request than all of our code: parameters by name, a response made from a
response. The routes that take money are called here instead, for every POST to them, in whatever form it comes. They
run the same checks as all other routes: the guards and the `before_request` that Litestar resolves for the handler.
Hooks that Litestar would run and this module does not (middleware, dependencies, hooks after the handler) are refused
when the application is made, so that no check can be added that misses these routes.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http.problems import to_response
from api.http.responses import Answer
from api.resources.request import LedgerRequest

_KEY: Final = b"idempotency-key"


class DirectRoute(NamedTuple):
    """A handler that is called with a request, a body of its type and an idempotency key, and the checks before it."""

    handler: HTTPRouteHandler
    call: Callable[..., Awaitable[Answer[Any]]]
    check: Callable[[LedgerRequest], Awaitable[object]] | None
    is_guarded: bool


class DirectRoutes:
    """Wraps the application: answers POST requests to the direct routes, and passes on all others."""

    def __init__(self, app: Litestar, handlers: Sequence[HTTPRouteHandler]) -> None:
        """Wrap `app`; each of `handlers` is one of its routes and takes `request`, `data` and `key`, by POST."""
        self._app: ASGIApp = app.asgi_handler
        called = {handler.fn for handler in handlers}
        self._routes = {
            route.path: _direct(handler)
            for route in app.routes
            for handler in getattr(route, "route_handlers", ())
            if handler.fn in called
        }
        assert len(self._routes) == len(handlers), self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        route = self._routes.get(scope["path"]) or self._routes.get(scope["path"].rstrip("/"))
        if route is None or scope.get("method") != "POST" or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        cast("dict[str, Any]", scope).update(route_handler=route.handler, path_params={})
        request = LedgerRequest(scope, receive, send)
        try:
            answer = await _answer(route, request)
            response = answer.to_asgi_response(None, request)
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever happened
            response = to_response(request, error).to_asgi_response(None, request)
        await response(scope, receive, send)


async def _answer(route: DirectRoute, request: LedgerRequest) -> Answer[Any]:
    if route.is_guarded:
        await route.handler.authorize_connection(connection=request)
    if route.check is not None:
        early = await route.check(request)
        assert early is None, "a check refuses by raising, and answers nothing itself"
    data = await request.json()
    return await route.call(request=request, data=data, key=request.field(_KEY))


def _direct(handler: HTTPRouteHandler) -> DirectRoute:
    """Take over the checks that Litestar runs for a handler, and refuse hooks that a direct route would not run."""
    assert handler.http_methods == {"POST"}, handler
    assert not handler.resolve_middleware(), "middleware would not run on a direct route"
    assert not handler.resolve_dependencies(), "dependencies would not be provided on a direct route"
    assert handler.resolve_after_response() is None, "after_response would not run on a direct route"
    assert not [layer for layer in handler.ownership_layers if layer.after_request is not None], (
        "after_request would not run on a direct route"
    )
    check = handler.resolve_before_request()
    return DirectRoute(
        handler,
        cast("Callable[..., Awaitable[Answer[Any]]]", handler.fn),
        cast("Callable[[LedgerRequest], Awaitable[object]] | None", check),
        is_guarded=bool(handler.resolve_guards()),
    )
