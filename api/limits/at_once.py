"""A bound on the requests that one process has under way. Further ones are refused at once, so that no queue grows.

A request whose body has not arrived yet is not under way: clients that send slowly would keep out all others. How many
of those there can be is bounded by the number of connections.
"""

from typing import Final

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from api.errors import ProcessBusy
from api.http.deadlines import SharedDeadline
from api.http.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, problem_document
from api.http.request_ids import note_code, request_id

PROBES: Final = frozenset({"/livez", "/readyz", "/api/v1/health", "/metrics"})
"""The addresses that are never refused: an orchestrator would end a process that is busy and well."""

_ID: Final = "the id of the request"


class RequestsAtOnce:
    """Wraps the application: passes on at most so many requests at a time.

    `reading` is the deadline that all requests share while their bodies arrive.
    """

    def __init__(self, app: ASGIApp, *, requests_max: int, reading: SharedDeadline) -> None:
        """Wrap `app`."""
        self._app = app
        self._requests_max = requests_max
        self._reading = reading
        self._under_way = 0
        # A refusal must cost little, so its document is written once, except for the id of the request.
        document = problem_document(ProcessBusy(), _ID)
        self._status = document.status
        self._before_id, _, self._after_id = msgspec.json.encode(document).partition(_ID.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if self._under_way >= self._requests_max and self._is_full(scope):
            await self._refuse(scope, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _is_full(self, scope: Scope) -> bool:
        return self._under_way - self._reading.waiting >= self._requests_max and scope["path"].rstrip("/") not in PROBES

    async def _refuse(self, scope: Scope, send: Send) -> None:
        note_code(scope, ProcessBusy.code)
        body = self._before_id + request_id(scope).encode() + self._after_id
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % RETRY_AFTER_SECONDS),
        ]
        sent = b"" if scope.get("method") == "HEAD" else body
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": sent, "more_body": False})
