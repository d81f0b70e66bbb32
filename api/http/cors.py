"""Cross-origin requests: the pages of which other sites may call the API from a browser (CORS). Off by default.

The service has no cookies, so nothing here is about credentials. An origin that is not allowed gets the same answers as
a program would, without the headers that let a browser show them to the page.
"""

from collections.abc import Sequence
from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

ANY: Final = "*"

_METHODS: Final = b"GET, HEAD, POST"
_REQUEST_HEADERS: Final = b"Authorization, Content-Type, Idempotency-Key, Prefer, X-API-Key, X-Request-ID"
_ANSWER_HEADERS: Final = (
    b"Idempotent-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
)
_PREFLIGHT_SECONDS: Final = b"600"

Headers = list[tuple[bytes, bytes]]


class Cors:
    """Wraps the application: lets pages of the allowed origins read its answers, and answers their preflights."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Wrap `app`; `origins` are like `https://app.example`, or the one text `*` for all."""
        self._app = app
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass a request on and add the headers to its answer."""
        asked = dict(scope["headers"])
        origin = asked.get(b"origin")
        allowed = origin is not None and (self._any or origin in self._origins)
        added: Headers = [] if self._any else [(b"vary", b"Origin")]
        if allowed:
            assert origin is not None
            added.append((b"access-control-allow-origin", ANY.encode() if self._any else origin))
            if scope.get("method") == "OPTIONS" and b"access-control-request-method" in asked:
                await _answer_preflight(send, added)
                return
            added.append((b"access-control-expose-headers", _ANSWER_HEADERS))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, answer)


async def _answer_preflight(send: Send, added: Headers) -> None:
    headers: Headers = [
        *added,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _REQUEST_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
