"""Counts and times every request by method, route template and status, the direct payment routes included.

Answers to unknown addresses are counted too. A label never holds an id or another text of a client: a path that has no
route is `unmatched`, and a method that HTTP does not define is `OTHER`.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from litestar.types import Scope

from api.telemetry.durations import Histogram, Histograms

UNMATCHED: Final = "unmatched"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpRequests:
    """Gives `histograms` a value for each request. `templates` are routes by their whole path."""

    def __init__(self, histograms: Histograms, templates: Mapping[str, str]) -> None:
        self._histograms = histograms
        self._templates = templates
        self._known: dict[tuple[object, object, int], Histogram] = {}

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request when it is answered, with its status, 0 without one."""
        kept = cast("dict[str, Any]", scope)
        key = (kept.get("method"), kept.get("path_template") or kept["path"], status)
        (self._known.get(key) or self._histogram(*key)).observe(seconds)

    def _histogram(self, method: object, path: object, status: int) -> Histogram:
        """Return the histogram of a request, and remember it where the path is that of a route."""
        route = self._templates.get(cast("str", path).rstrip("/") or "/")
        named = method if isinstance(method, str) and method in _METHODS else "OTHER"
        histogram = self._histograms.of(named, route or UNMATCHED, str(status))
        if route is not None and path in {route, f"{route}/"} and named is method:
            self._known[method, path, status] = histogram
        return histogram
