"""The id of a request: the client's own id when it is well-formed, otherwise a new one.

The id is in the answer's `X-Request-ID`, in problem documents, in the logs, and as `command_id` in the events that the
request caused. The outermost layer around the application assigns it, so that answers to unknown addresses have one
too. That layer also writes the access log.

A log line costs about as much as a request, so ordinary requests are logged at level `debug`. Requests that the service
failed to answer are logged at `warning`; of those that it refuses for now (503) only some, with the number of the
others, because an outage refuses thousands. Bodies, headers and parameters are never logged, and of an address only the
words that a route has, and numbers.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.http.deadlines import begin_request
from api.input.header_fields import fields_of
from ledger.command_ids import COMMAND_ID_CHARACTERS, new_command_id
from ledger.outages import LineBudget

HEADER: Final = b"x-request-id"

_KEY: Final = "ledger.request_id"
_WELL_FORMED: Final = re.compile(COMMAND_ID_CHARACTERS.encode())
_CODE: Final = "ledger.error_code"
_NUMBER: Final = re.compile("[0-9]{1,16}")

Observe = Callable[[Scope, int, float], None]
"""Hears of a request, with the status of its answer, 0 without one, and the seconds that it took."""

_log = structlog.get_logger()


def request_id(scope: Scope) -> str:
    """Return the id of the request that a scope belongs to."""
    return str(cast("dict[str, Any]", scope)[_KEY])


def note_code(scope: Scope, code: str) -> None:
    """Note the code of the error that a request is answered with, for its line in the log."""
    cast("dict[str, Any]", scope)[_CODE] = code


class RequestIds:
    """Wraps the application: gives each request an id and a deadline, adds the id to the answer, and logs it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        words: frozenset[str] = frozenset(),
        observe: Observe | None = None,
    ) -> None:
        """Wrap `app`; `headers` are added to every answer, and `words` of addresses are shown in the log.

        `observe` hears of each request when it is answered.
        """
        self._app = app
        self._words = words
        self._observe = observe
        self._lines = LineBudget()
        self._headers = tuple(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request with its id to the application, and add the id to the answer."""
        identifier = _given(scope) or new_command_id()
        encoded = identifier.encode()
        cast("dict[str, Any]", scope)[_KEY] = identifier
        begin_request(identifier)
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, encoded), *self._headers]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            if self._observe is not None:
                self._observe(scope, status, seconds)
            level = logging.WARNING if status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
            if _log.is_enabled_for(level):
                self._tell(level, scope, status, seconds)

    def _tell(self, level: int, scope: Scope, status: int, seconds: float) -> None:
        facts: dict[str, Any] = {}
        if (code := cast("dict[str, Any]", scope).get(_CODE)) is not None:
            facts["code"] = code
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            unsaid = self._lines.take(time.monotonic())
            if unsaid is None:
                return
            facts["unsaid"] = unsaid
        _log.log(
            level,
            "request",
            method=scope.get("method"),
            path=shown_path(scope["path"], self._words),
            status=status,
            elapsed_ms=round(seconds * 1000, 1),
            request_id=request_id(scope),
            **facts,
        )


def shown_path(path: str, words: frozenset[str]) -> str:
    """Return a path for the log: its segments that are in `words` or numbers, and `*` for each other one.

    A client may have put anything else into an address, such as a password.
    """
    segments = path.split("/")
    return "/".join(each if not each or each in words or _NUMBER.fullmatch(each) else "*" for each in segments)


def _given(scope: Scope) -> str:
    """Return the client's own id of a request; empty when there is none or it is not well-formed."""
    given = fields_of(scope).get(HEADER)
    return given.decode() if given is not None and _WELL_FORMED.fullmatch(given) else ""
