"""The pages at `/problems`: the `type` of a problem document is the address of the page that explains its code."""

from typing import Annotated, Any

from litestar import get
from litestar.params import PathParameter

from api.auth.access import allows
from api.errors import RouteNotFound
from api.http.responses import Answer
from api.pages.explanations import EXPLANATIONS, Explanation
from api.pages.html import answer, entries, link, text
from api.resources.request import LedgerRequest


@get("/problems", opt=allows("public"), include_in_schema=False)
async def list_problems(request: LedgerRequest) -> Answer[Any]:
    """List all codes."""
    lines = [f"{each.status} {link(each.type, each.code)}: {text(each.title)}" for each in EXPLANATIONS.values()]
    return answer(request, title="Problems", body=entries(lines), content={"problems": [*EXPLANATIONS.values()]})


@get("/problems/{code:str}", opt=allows("public"), include_in_schema=False)
async def explain_problem(request: LedgerRequest, code: Annotated[str, PathParameter()]) -> Answer[Any]:
    """Explain a code. Raises RouteNotFound for one that no answer has."""
    if code not in EXPLANATIONS:
        raise RouteNotFound
    explained = EXPLANATIONS[code]
    return answer(request, title=explained.title, body=_paragraphs(explained), content=explained)


def _paragraphs(explained: Explanation) -> list[str]:
    retry = "Sending the same request again later can help." if explained.may_retry else ""
    texts = [
        f"Status {explained.status}, code `{explained.code}`.",
        *explained.about.split("\n\n"),
        f"What to do: {explained.detail}",
        retry,
    ]
    ways = f"{link('/problems', 'All problems')}, {link('/docs', 'documentation')}"
    return [*(f"<p>{text(each)}</p>" for each in texts if each), f"<p>{ways}</p>"]
