"""The W3C trace context of a request, which is kept with its payment and sent to the gateway.

So a trace that a client began goes on in the gateway, also hours later and from another process. The service records
no spans of its own: it passes the client's context on unchanged, as a part that takes no part in the trace does.
"""

import re
from typing import Final

HEADER: Final = b"traceparent"

_FORM: Final = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<ids>[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-.*)?"
)
_SAMPLED: Final = 0x01


def trace_context(values: list[bytes]) -> str | None:
    """Return the `traceparent` of a request from all its header fields of that name; None unless one valid one came.

    The fields of a later version than 00 are passed on as version 00, as the specification wants it.
    """
    if len(values) != 1 or (found := _FORM.fullmatch(values[0])) is None:
        return None
    if found["version"] == b"00":
        return None if found["more"] else values[0].decode()
    sampled = int(found["flags"], 16) & _SAMPLED
    return f"00-{found['ids'].decode()}-{sampled:02x}"
