"""How answers are encoded: as JSON, with amounts as exact numbers."""

from typing import Any, Final, TypeVar

import msgspec
from litestar import Response
from litestar.types import Serializer

_encoder: Final = msgspec.json.Encoder(decimal_format="number")

REPLAYED: Final = "Idempotent-Replayed"

ContentT = TypeVar("ContentT")


class Answer(Response[ContentT]):
    """An answer as JSON; a Decimal in it becomes a number digit by digit."""

    def render(self, content: Any, media_type: str, enc_hook: Serializer | None = None) -> bytes:  # noqa: ANN401, ARG002
        """Encode the content; text and bytes are sent as they are."""
        if isinstance(content, bytes):
            return content
        return _encoder.encode(content)


def replay_headers(*, replayed: bool) -> dict[str, str]:
    """Say of an answer that an earlier request with the same key was answered with it."""
    return {REPLAYED: "true"} if replayed else {}
