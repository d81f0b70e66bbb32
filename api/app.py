"""Builds the HTTP application from the routes, the application context, the checks and the error handler."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from api.context import AppContext
from api.direct_routes import DirectRoutes
from api.http.cors import Cors
from api.http.head_requests import HeadRequests
from api.http.parameters import list_cursor, partition_number
from api.http.problems import to_response
from api.http.request_ids import RequestIds
from api.http.responses import Answer
from api.input.parameters import refuse_unknown_parameters
from api.limits.at_once import RequestsAtOnce
from api.limits.headers import RateLimitHeaders
from api.openapi.document import EdgeSchemas, openapi_config
from api.pages.home import home
from api.pages.problems import explain_problem, list_problems
from api.resources.audit import audit
from api.resources.batches import batches
from api.resources.dead_letters import dead_letters
from api.resources.decisions.approvals import approvals, audit_requests
from api.resources.decisions.bulk import bulk
from api.resources.gateway import gateway
from api.resources.health import health, livez, readyz
from api.resources.keys import keys
from api.resources.metrics import metrics
from api.resources.mock_gateway import mock_gateway
from api.resources.payments import deposit, payments, withdraw
from api.resources.prometheus import prometheus
from api.resources.request import LedgerRequest, refuse_null, refuse_two_keys
from api.resources.users import users
from api.settings import Settings
from api.telemetry.http_requests import HttpRequests
from ledger.partition.partition import Partitions

Check = Callable[[Request[Any, Any, Any]], Awaitable[None] | None]
"""A function that runs before the handler of every route, and refuses a request by raising an error.

A check that has nothing to wait for is a plain function, because each coroutine costs every request something.
"""

CHECKS: Final[tuple[Check, ...]] = (refuse_null, refuse_two_keys)


def create_app(
    settings: Settings,
    partitions: Partitions,
    *,
    checks: Sequence[Check] = CHECKS,
    process_headers: Mapping[str, str] = MappingProxyType({}),
) -> Litestar:
    """Make the application that serves a ledger; `checks` run in order before every handler.

    The check of keys, and of rates if there are any, comes before them, and that of `STRICT_INPUT` after them.
    `process_headers` show, with the readiness, which process answers. The lifespan of the application starts and stops
    the writer and the connections; nothing connects before it.
    """
    context = AppContext(settings, partitions)
    first = context.access if context.rates is None else context.rates
    checks = (first, *checks, *((refuse_unknown_parameters,) if settings.strict_input else ()))

    async def check(request: Request[Any, Any, Any]) -> None:
        for each in checks:
            if (checking := each(request)) is not None:
                await checking

    resources: list[Router | HTTPRouteHandler] = [
        users,
        payments,
        batches,
        dead_letters,
        bulk,
        approvals,
        gateway,
        audit,
        audit_requests,
        health,
        metrics,
        keys,
    ]
    if settings.demo_gateway:
        resources.append(mock_gateway)
    app = Litestar(
        [Router("/api/v1", route_handlers=resources), livez, readyz, prometheus, home, list_problems, explain_problem],
        before_request=check,
        debug=False,
        exception_handlers={Exception: to_response},
        lifespan=[_lifespan],
        # Litestar's own logging would write bodies and stack traces; request_ids and problems log instead.
        logging_config=None,
        openapi_config=openapi_config(settings.app_name, strict=settings.strict_input, needs_keys=context.needs_keys),
        plugins=[EdgeSchemas()],
        request_class=LedgerRequest,
        request_max_body_size=None,  # request_body reads bodies, with its own limits
        response_class=Answer,
        signature_namespace={
            "ListCursor": list_cursor(len(partitions)),
            "PartitionNumber": partition_number(len(partitions)),
        },
        state=State({"context": context, "process_headers": process_headers}),
    )
    context.access.cover(app)
    app.asgi_handler = HeadRequests(app.asgi_handler)
    handler: ASGIApp = DirectRoutes(app, [deposit, withdraw])
    handler = RequestsAtOnce(handler, requests_max=settings.limit_requests_at_once, reading=context.body_deadline)
    if context.rates is not None:
        handler = RateLimitHeaders(handler)
    if settings.cors_origins:
        handler = Cors(handler, settings.cors_origins)
    templates = {route.path_format.rstrip("/") or "/": route.path_format for route in app.routes}
    counted = HttpRequests(context.process_metrics.requests, templates)
    headers = _kept(settings.http_keep_alive_seconds)
    app.asgi_handler = RequestIds(handler, headers=headers, words=_words_of(app), observe=counted.observe)
    return app


def _words_of(app: Litestar) -> frozenset[str]:
    """Return the words in the addresses of the routes, without the places of parameters."""
    return frozenset(word for route in app.routes for word in route.path.split("/") if not word.startswith("{"))


def _kept(seconds: int) -> list[tuple[bytes, bytes]]:
    """Return the header that tells clients how long an idle connection stays open; none when it is closed at once."""
    return [(b"keep-alive", b"timeout=%d" % seconds)] if seconds else []


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    context: AppContext = app.state["context"]
    async with context.running():
        yield
