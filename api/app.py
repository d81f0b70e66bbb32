"""The HTTP application: all routes, what runs behind them, and how errors are answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from api.answers import Answer
from api.audit import audit
from api.batches import batches
from api.dead_letters import dead_letters
from api.docs import EdgeSchemas, openapi_config
from api.health import health, livez, readyz
from api.metrics import metrics
from api.mock_gateway import mock_gateway
from api.parts import Parts
from api.payments import deposit, payments, withdraw
from api.problems import to_response
from api.request_ids import RequestIds
from api.requests import LedgerRequest, refuse_ambiguous
from api.short_way import ShortWay
from api.users import users
from ledger.database import Database
from ledger.settings import Settings


def create_app(settings: Settings, database: Database) -> Litestar:
    """Make the application that serves one partition of the ledger.

    The writer and the connections run while the application's lifespan does; nothing is connected before.
    """
    parts = Parts(settings, database)
    resources: list[Router | HTTPRouteHandler] = [users, payments, batches, dead_letters, audit, health, metrics]
    if settings.demo_gateway:
        resources.append(mock_gateway)
    app = Litestar(
        [Router("/api/v1", route_handlers=resources), livez, readyz],
        before_request=refuse_ambiguous,
        debug=False,
        exception_handlers={Exception: to_response},
        lifespan=[_lifespan],
        # Litestar's own logging would write bodies and stack traces; ours is in request_ids and problems.
        logging_config=None,
        openapi_config=openapi_config(settings.app_name),
        plugins=[EdgeSchemas()],
        request_class=LedgerRequest,
        request_max_body_size=None,  # bodies are read by our own hand, within bounds of our own
        response_class=Answer,
        state=State({"parts": parts}),
    )
    app.asgi_handler = RequestIds(ShortWay(app, [deposit, withdraw]))
    return app


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    parts: Parts = app.state["parts"]
    async with parts.running():
        yield
