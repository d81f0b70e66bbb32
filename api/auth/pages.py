"""Keeps the pages of other sites out, where no key is needed.

A browser on the machine of the service, or in its network, reaches the service for every page that it shows. A page of
another site may send a POST without asking, although it cannot read the answer. By a name of its own that leads to this
machine (DNS rebinding) it can even read. Where a request needs a key, such a page has none.
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from litestar import Request

from api.errors import CrossSite, HostUnknown
from api.input.header_fields import fields_of

ANY: Final = "*"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SEEN_MAX: Final = 100
_OF_US: Final = frozenset({b"same-origin", b"none"})


class Pages:
    """The check of requests that need no key. It reads headers that browsers send and no page can change.

    `origins` are the sites that may call, as `CORS_ORIGINS` has them. With `host`, the name on which a service for this
    machine alone listens, a request must have that name, `localhost` or an address as its host.
    """

    def __init__(self, *, origins: Sequence[str], host: str | None) -> None:
        """Check against these."""
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._names = None if host is None else {b"", b"localhost", host.lower().encode()}
        self._seen: set[bytes] = set()

    def __call__(self, request: Request[Any, Any, Any]) -> None:
        """Check a request. Raises CrossSite, HostUnknown."""
        fields = fields_of(request.scope)
        host = fields.get(b"host", b"")
        if self._names is not None and host not in self._seen:
            if not _is_one_of(self._names, host):
                raise HostUnknown
            if len(self._seen) < _SEEN_MAX:
                self._seen.add(host)
        if (b"origin" in fields or b"sec-fetch-site" in fields) and request.scope["method"] not in _SAFE:
            self._check_page(fields, host)

    def _check_page(self, fields: Mapping[bytes, bytes], host: bytes) -> None:
        origin, site = fields.get(b"origin", b""), fields.get(b"sec-fetch-site")
        if self._any or origin in self._origins:
            return
        # Browsers before 2023 send no `Sec-Fetch-Site`, and none sends it over plain HTTP to another machine.
        is_ours = site in _OF_US if site is not None else bool(host) and origin.partition(b"://")[2] == host
        if not is_ours:
            raise CrossSite


def _is_one_of(names: Collection[bytes], host: bytes) -> bool:
    """Tell whether a `Host` is one of these names, under `localhost`, or an address, which no page can give itself."""
    name = host[1:].partition(b"]")[0] if host.startswith(b"[") else host.partition(b":")[0].lower()
    if name in names or name.endswith(b".localhost"):
        return True
    try:
        ipaddress.ip_address(name.decode("ascii"))
    except ValueError:
        return False
    return True
