"""Pages of long lists: how long a page is, and a cursor that says where the next one starts.

Inside a cursor are its partition's number, the keys of the last item (never an offset, so that new items shift
nothing) and a digest over them, the route and its filters. To a client it is opaque: a cursor that was changed, or was
made for another list or other filters, is refused. The digest is not a secret: a cursor that somebody makes up shows
only items that anybody may read.

The cursor of a list over several partitions has a place in each of them instead, in seven bytes each, and its digest is
also over the ledger's id. So one for another ledger, or from before a split, is refused.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from api.errors import CursorInvalid
from ledger.domain.identifiers import ID_MAX

LIMIT_MAX: Final = 500
LIMIT_DEFAULT: Final = 50
OFFSET_MAX: Final = 1_000_000
CURSOR_CHARACTERS_MAX: Final = 200
"""How long a cursor of one partition may be."""

PLACE_MAX: Final = ID_MAX + 1
"""The place before the newest item of any list, which has no id above ID_MAX."""

_DIGEST_BYTES: Final = 8
_PLACE_BYTES: Final = 7
_keys: Final = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=PLACE_MAX)], ...])

Filters = Mapping[str, str | int | None]


def write_cursor(route: str, filters: Filters, *keys: int, partition: int) -> str:
    """Write the cursor behind an item with these keys, which are those of a partition."""
    body = msgspec.json.encode((partition, *keys))
    return _text(_digest(route, filters, body) + body)


def read_cursor(cursor: str, route: str, filters: Filters, *, keys: int, partition: int) -> tuple[int, ...]:
    """Read as many keys as the list has from a cursor of a partition.

    Raises CursorInvalid unless `write_cursor` made the cursor for this route and these filters.
    """
    digest, body = _parts(cursor)
    try:
        found = _keys.decode(body)
    except msgspec.DecodeError:
        raise CursorInvalid from None
    number, *last = found or (None,)
    if digest != _digest(route, filters, body) or number != partition or len(last) != keys:
        raise CursorInvalid
    if write_cursor(route, filters, *last, partition=partition) != cursor:
        raise CursorInvalid
    return tuple(last)


def write_merged_cursor(route: str, filters: Filters, places: Sequence[int], *, ledger_id: UUID) -> str:
    """Write the cursor of a list over all partitions of a ledger, with the place in each of them."""
    body = b"".join(place.to_bytes(_PLACE_BYTES) for place in places)
    return _text(_merged_digest(route, filters, body, ledger_id) + body)


def read_merged_cursor(
    cursor: str, route: str, filters: Filters, *, partitions: int, ledger_id: UUID
) -> tuple[int, ...]:
    """Read the place in each partition from a cursor of a list over all of them.

    Raises CursorInvalid unless `write_merged_cursor` made the cursor for this ledger, route and these filters.
    """
    digest, body = _parts(cursor)
    starts = range(0, len(body), _PLACE_BYTES)
    places = tuple(int.from_bytes(body[start : start + _PLACE_BYTES]) for start in starts)
    if digest != _merged_digest(route, filters, body, ledger_id) or len(body) != partitions * _PLACE_BYTES:
        raise CursorInvalid
    if max(places) > PLACE_MAX or write_merged_cursor(route, filters, places, ledger_id=ledger_id) != cursor:
        raise CursorInvalid
    return places


def cursor_characters_max(partitions: int) -> int:
    """Return how long the cursor of a list over so many partitions may be: one for more than 16 needs more room."""
    return max(CURSOR_CHARACTERS_MAX, -(-(_DIGEST_BYTES + partitions * _PLACE_BYTES) * 4 // 3))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parts(cursor: str) -> tuple[bytes, bytes]:
    """Return the digest and the body of a cursor. Raises CursorInvalid."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise CursorInvalid from None
    return raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]


def _merged_digest(route: str, filters: Filters, body: bytes, ledger_id: UUID) -> bytes:
    return _digest(route, {**filters, "ledger": ledger_id.hex}, body)


def _digest(route: str, filters: Filters, body: bytes) -> bytes:
    text = msgspec.json.encode([route, sorted(filters.items())])
    return blake2b(text + body, digest_size=_DIGEST_BYTES, person=b"ledger-cursor").digest()
