"""How answers are encoded: as JSON, with amounts as exact numbers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from litestar import Litestar, Request, Response
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.datastructures import Cookie
from litestar.enums import MediaType
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send, Serializer, TypeEncodersMap

_encoder: Final = msgspec.json.Encoder(decimal_format="number")

REPLAYED: Final = "Idempotent-Replayed"

ContentT = TypeVar("ContentT")


class EncodedAnswer(ASGIResponse):
    """An answer in bytes, with what ours have and nothing else: no cookies, no work after it, no second encoding.

    What Litestar makes of a response by itself costs as much as encoding it.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status_code = status_code
        self.body = body
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self._headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Answer(Response[ContentT]):
    """An answer as JSON; a Decimal in it becomes a number digit by digit."""

    def __init__(
        self,
        content: ContentT,
        *,
        status_code: int | None = None,
        media_type: MediaType | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> None:
        """Answer with `content`. What else Litestar gives a response, such as cookies, ours have not."""
        self.content = content
        self.status_code = status_code
        self.media_type = media_type
        self.headers = dict(headers or {})

    def render(self, content: Any, media_type: str, enc_hook: Serializer | None = None) -> bytes:  # noqa: ANN401, ARG002
        """Encode the content; text and bytes are sent as they are."""
        if isinstance(content, bytes):
            return content
        return _encoder.encode(content)

    def to_asgi_response(  # noqa: PLR0913 - as Litestar has it
        self,
        app: Litestar | None,  # noqa: ARG002 - Litestar's own parameters, of which ours need the last few
        request: Request[Any, Any, Any],  # noqa: ARG002
        *,
        background: BackgroundTask | BackgroundTasks | None = None,  # noqa: ARG002
        cookies: Iterable[Cookie] | None = None,  # noqa: ARG002
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,  # noqa: ARG002
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,  # noqa: ARG002 - no route of ours answers HEAD
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: "TypeEncodersMap | None" = None,  # noqa: ARG002
    ) -> ASGIResponse:
        """Encode the answer."""
        given = self.media_type or media_type or MediaType.JSON
        kind = given.value if isinstance(given, MediaType) else given
        body = self.render(self.content, kind)
        status = self.status_code or status_code
        assert status is not None, "a route has a status"
        sent = {"content-type": kind, "content-length": str(len(body)), **(headers or {}), **self.headers}
        return EncodedAnswer(status, sent, body)


def replay_headers(*, replayed: bool) -> dict[str, str]:
    """Say of an answer that an earlier request with the same key was answered with it."""
    return {REPLAYED: "true"} if replayed else {}
