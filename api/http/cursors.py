"""Pages of long lists: how long a page is, and a cursor that says where the next one starts.

Inside a cursor are its partition's number, the keys of the last item (never an offset, so that new items shift
nothing) and a digest over them, the route and its filters. To a client it is opaque: a cursor that was changed, or was
made for another list or other filters, is refused. The digest is not a secret: a cursor that somebody makes up shows
only items that anybody may read.
"""

import base64
import binascii
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.errors import CursorInvalid
from ledger.domain.identifiers import ID_MAX

LIMIT_MAX: Final = 500
LIMIT_DEFAULT: Final = 50
OFFSET_MAX: Final = 1_000_000
CURSOR_CHARACTERS_MAX: Final = 200

_DIGEST_BYTES: Final = 8
_keys: Final = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=ID_MAX + 1)], ...])

Filters = Mapping[str, str | int | None]


def write_cursor(route: str, filters: Filters, *keys: int, partition: int) -> str:
    """Write the cursor behind an item with these keys, which are those of a partition."""
    body = msgspec.json.encode((partition, *keys))
    return base64.urlsafe_b64encode(_digest(route, filters, body) + body).rstrip(b"=").decode()


def read_cursor(cursor: str, route: str, filters: Filters, *, keys: int, partition: int) -> tuple[int, ...]:
    """Read as many keys as the list has from a cursor of a partition.

    Raises CursorInvalid unless `write_cursor` made the cursor for this route and these filters.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        found = _keys.decode(body)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
        raise CursorInvalid from None
    number, *last = found or (None,)
    if digest != _digest(route, filters, body) or number != partition or len(last) != keys:
        raise CursorInvalid
    if write_cursor(route, filters, *last, partition=partition) != cursor:
        raise CursorInvalid
    return tuple(last)


def _digest(route: str, filters: Filters, body: bytes) -> bytes:
    text = msgspec.json.encode([route, sorted(filters.items())])
    return blake2b(text + body, digest_size=_DIGEST_BYTES, person=b"ledger-cursor").digest()
