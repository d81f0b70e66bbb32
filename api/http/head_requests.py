"""HEAD for every address that has GET: the same answer without its body."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

_ALLOW: Final = b"allow"


class HeadRequests:
    """Wraps the application: answers HEAD as GET without the body, and names HEAD wherever GET is allowed."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; HEAD becomes GET."""
        method = scope.get("method")
        if method in {"GET", "POST"}:
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, with_head(value.decode()).encode() if name == _ALLOW else value)
                    for name, value in message["headers"]
                ]
            elif message["type"] == "http.response.body" and method == "HEAD":
                message["body"] = b""
            await send(message)

        await self._app({**scope, "method": "GET"} if method == "HEAD" else scope, receive, answer)  # type: ignore[arg-type]


def with_head(allow: str) -> str:
    """Add HEAD to the methods of an `Allow` header that has GET."""
    methods = [method.strip() for method in allow.split(",")]
    return allow if "GET" not in methods or "HEAD" in methods else ", ".join([*methods, "HEAD"])
