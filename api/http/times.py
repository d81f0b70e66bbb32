"""Times in HTTP, as in RFC 3339: answers have UTC with microseconds; requests may use any offset, but must have one."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.errors import RequestInvalid

Timestamp = Annotated[str, Meta(extra_json_schema={"extra": {"format": "date-time"}})]
"""A time in an answer."""

_Aware: Final = Annotated[datetime, Meta(tz=True)]


def timestamp(at: datetime) -> str:
    """Write a time in UTC, such as `2026-11-23T09:30:00.000000Z`.

    The encoder writes this format twenty times faster than `isoformat`, except that it leaves out microseconds when
    they are zero; only then this function formats the time itself.
    """
    assert at.tzinfo is UTC, at
    if at.microsecond:
        return at  # type: ignore[return-value]  # the encoder turns it into text
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def optional_timestamp(at: datetime | None) -> str | None:
    """Write a time, or None when there is none."""
    return None if at is None else timestamp(at)


def parse_timestamp(text: str | None, *, path: str) -> datetime | None:
    """Parse an optional time of a request; `path` is its path in the request.

    Raises RequestInvalid when the text is not a time, or has no offset.
    """
    if text is None:
        return None
    try:
        at: datetime = msgspec.convert(text, _Aware)
        return at.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        expected = "must be a time such as 2026-11-23T09:30:00Z, with Z or an offset (in an address, + is %2B)"
        raise RequestInvalid.at(path, expected) from None
