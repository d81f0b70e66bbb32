"""Encodes answers as JSON, with amounts as exact numbers, or as strings where the client prefers that."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from litestar import Litestar, Request, Response
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.datastructures import Cookie, Headers, ResponseHeader
from litestar.enums import MediaType
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send, Serializer, TypeEncodersMap

from api.input.header_fields import fields_of

_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_encoder_of_strings: Final = msgspec.json.Encoder(decimal_format="string")

REPLAYED: Final = "Idempotent-Replayed"

REPLAYED_HEADER: Final = ResponseHeader(
    name=REPLAYED, value="true", description="`true` on the answer to a replay.", documentation_only=True
)
"""The same for the documentation of a route."""

AMOUNTS_AS_STRINGS: Final = "amounts=string"
"""The preference (RFC 7240) of a client that would lose digits of large amounts if they were numbers."""

ContentT = TypeVar("ContentT")


@cache
def _encoded_name(name: str) -> bytes:
    """Encode the name of a header. The application has a few names, and takes none from requests."""
    return name.lower().encode("latin-1")


class EncodedAnswer(ASGIResponse):
    """An encoded answer. It has no cookies and no background task, and is not encoded a second time.

    Litestar's own response class would cost as much again as encoding the answer.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status_code = status_code
        self.body = body
        self._headers = [(_encoded_name(name), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self._headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Answer(Response[ContentT]):
    """An answer in JSON. A Decimal becomes a number, digit by digit, or a string where the client prefers that.

    `has_amounts` is for an answer of another media type, a problem, that has amounts.
    """

    has_amounts = False

    def __init__(
        self,
        content: ContentT,
        *,
        status_code: int | None = None,
        media_type: MediaType | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> None:
        """Answer with `content`. Other arguments that Litestar passes, such as cookies, are ignored."""
        self.content = content
        self.status_code = status_code
        self.media_type = media_type
        self.headers = dict(headers or {})

    def render(self, content: Any, media_type: str, enc_hook: Serializer | None = None) -> bytes:  # noqa: ANN401, ARG002
        """Encode the content. Bytes are sent unchanged."""
        if isinstance(content, bytes):
            return content
        return _encoder.encode(content)

    def to_asgi_response(  # noqa: PLR0913 - the signature is Litestar's
        self,
        app: Litestar | None,  # noqa: ARG002 - Litestar's parameters, most of them unused here
        request: Request[Any, Any, Any],
        *,
        background: BackgroundTask | BackgroundTasks | None = None,  # noqa: ARG002
        cookies: Iterable[Cookie] | None = None,  # noqa: ARG002
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,  # noqa: ARG002
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,  # noqa: ARG002 - head_requests removes the body
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: "TypeEncodersMap | None" = None,  # noqa: ARG002
    ) -> ASGIResponse:
        """Encode the answer."""
        given = self.media_type or media_type or MediaType.JSON
        kind = given.value if isinstance(given, MediaType) else given
        status = self.status_code or status_code
        assert status is not None, "a route has a status"
        sent = {"content-type": kind, **(headers or {}), **self.headers}
        may_vary = (kind == MediaType.JSON or self.has_amounts) and not isinstance(self.content, bytes)
        if may_vary:
            sent["vary"] = "Prefer"  # also without a preference: a cache may not give this answer to who has one
        if may_vary and _has_preferences(request.scope):
            body = self._render_preferred(request, sent)
        else:
            body = self.render(self.content, kind)
        sent["content-length"] = str(len(body))
        return EncodedAnswer(status, sent, body)

    def _render_preferred(self, request: Request[Any, Any, Any], sent: dict[str, str]) -> bytes:
        """Encode the content as the client prefers, and say so in the headers."""
        if not wants_amounts_as_strings(request.headers):
            return _encoder.encode(self.content)
        sent["preference-applied"] = AMOUNTS_AS_STRINGS
        return _encoder_of_strings.encode(self.content)


def _has_preferences(scope: Scope) -> bool:
    """Tell whether a request has the header, without Litestar's decoding of all headers."""
    return b"prefer" in fields_of(scope)


def replay_headers(*, replayed: bool) -> dict[str, str]:
    """Return the header that marks an answer as a replay, if it is one."""
    return {REPLAYED: "true"} if replayed else {}


def wants_amounts_as_strings(headers: Headers) -> bool:
    """Tell whether a request prefers amounts as strings. Other preferences are ignored, as the RFC wants."""
    preferences = ",".join(headers.getall("prefer", [])).split(",")
    return AMOUNTS_AS_STRINGS in {_plain(preference) for preference in preferences}


def _plain(preference: str) -> str:
    """Write a preference without its parameters, spaces and quotes, in small letters."""
    return re.sub(r'[ \t"]', "", preference.partition(";")[0]).lower()
