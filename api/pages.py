"""Pages of long lists: a cursor says where the next page starts.

Inside a cursor are the keys of the last item (never an offset, so that what is added meanwhile shifts nothing) and a
digest over them, the route and its filters. To a client it is opaque: one that was bent, or was given out for another
list or other filters, is refused. The digest is no secret; a cursor that somebody made up shows what anybody may read.
"""

import base64
import binascii
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from litestar.params import QueryParameter
from msgspec import Meta

from api.errors import CursorInvalid
from ledger.identifiers import ID_MAX

LIMIT_MAX: Final = 500
LIMIT_DEFAULT: Final = 50
CURSOR_CHARACTERS_MAX: Final = 200

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many items a page has at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(
        max_length=CURSOR_CHARACTERS_MAX,
        schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},  # only described here: what does not fit has a refusal of its own
        description="`next_cursor` of the page before; without it, the first page.",
    ),
]

_DIGEST_BYTES: Final = 8
_keys: Final = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=ID_MAX + 1)], ...])

Filters = Mapping[str, str | int | None]


def write_cursor(route: str, filters: Filters, *keys: int) -> str:
    """Write the cursor behind an item with these keys."""
    body = msgspec.json.encode(keys)
    return base64.urlsafe_b64encode(_digest(route, filters, body) + body).rstrip(b"=").decode()


def read_cursor(cursor: str, route: str, filters: Filters, *, keys: int) -> tuple[int, ...]:
    """Read as many keys as the list has from a cursor.

    Raises CursorInvalid when it is not one that `write_cursor` made for this route and these filters.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        found = _keys.decode(body)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
        raise CursorInvalid from None
    if digest != _digest(route, filters, body) or len(found) != keys or write_cursor(route, filters, *found) != cursor:
        raise CursorInvalid
    return found


def _digest(route: str, filters: Filters, body: bytes) -> bytes:
    text = msgspec.json.encode([route, sorted(filters.items())])
    return blake2b(text + body, digest_size=_DIGEST_BYTES, person=b"ledger-cursor").digest()
