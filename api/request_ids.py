"""The id of a request: the client's own where it is sane, else one of ours.

It stands in the answer's `X-Request-ID`, in problem documents, in the logs, and as `command_id` in the events that the
request brought about. The outermost layer around the application gives it, so that answers to unknown addresses have
one too, and writes the access log.

A line for each request costs about as much as the request itself, so ordinary ones are written at level `debug`; what
the service could not answer is written at `warning`. Neither bodies nor headers are written.
"""

import logging
import re
import time
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ledger.command_ids import new_command_id

HEADER: Final = b"x-request-id"

_KEY: Final = "ledger.request_id"
_SANE: Final = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
_SERVER_ERROR: Final = 500

_log = structlog.get_logger()


def request_id(scope: Scope) -> str:
    """The id of the request that a scope belongs to."""
    return str(cast("dict[str, Any]", scope)[_KEY])


class RequestIds:
    """Wraps the application: gives each request its id, answers with it, and logs how it went."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its id, and its answer back with the same."""
        identifier = _given(scope) or new_command_id()
        encoded = identifier.encode()
        cast("dict[str, Any]", scope)[_KEY] = identifier
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, encoded)]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            level = logging.WARNING if status == 0 or status >= _SERVER_ERROR else logging.DEBUG
            if _log.is_enabled_for(level):
                _log.log(
                    level,
                    "request",
                    method=scope.get("method"),
                    path=scope["path"],
                    status=status,
                    elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
                    request_id=identifier,
                )


def _given(scope: Scope) -> str:
    """The client's own id of a request, where it is sane."""
    for name, value in scope["headers"]:
        if name == HEADER and _SANE.fullmatch(value):
            return value.decode()
    return ""
