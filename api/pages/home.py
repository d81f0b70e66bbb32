"""The page at `/`, which leads to the documentation, the health and the problems."""

from typing import Any, Final

from litestar import get

from api.auth.access import allows
from api.errors import RouteNotFound
from api.http.responses import Answer
from api.pages.html import answer, entries, link, text
from api.resources.request import LedgerRequest
from ledger.version import VERSION

_PLACES: Final = {
    "documentation": ("/docs", "all routes below /api/v1, to read and to try out"),
    "openapi": ("/docs/openapi.json", "the same for programs, as OpenAPI"),
    "health": ("/api/v1/health", "the health of the whole service"),
    "metrics": ("/api/v1/metrics", "counters"),
    "alive": ("/livez", "whether this process answers"),
    "ready": ("/readyz", "whether it can take payments"),
    "problems": ("/problems", "the codes of problems, explained"),
}
"""Where one can go from here: address, and a few words about it."""


@get("/", opt=allows("public"), include_in_schema=False)
async def home(request: LedgerRequest) -> Answer[Any]:
    """Lead to what there is. Raises RouteNotFound for an address that does not begin with a slash."""
    if request.scope.get("raw_path", b"/").partition(b"?")[0] != b"/":
        raise RouteNotFound  # the router takes it for the root
    title = request.context.settings.app_name
    lines = [f"{link(address)}: {text(words)}" for address, words in _PLACES.values()]
    links = {name: address for name, (address, _) in _PLACES.items()}
    content = {"title": title, "version": VERSION, "links": links}
    return answer(request, title=title, body=[f"<p>Version {text(VERSION)}.</p>", *entries(lines)], content=content)
