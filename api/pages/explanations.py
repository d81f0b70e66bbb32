"""Explains each code of a problem, from the classes of errors and the table of their answers.

The pages at `/problems` and the reference page of errors show the same.
"""

import inspect
import re
from typing import Final

from msgspec import Struct

from api.http.problem_table import PROBLEMS, problem_for
from ledger.errors import LedgerError


class Explanation(Struct, frozen=True, kw_only=True):
    """A code with its status and title, `about` it in paragraphs, the `detail` with facts in braces, and `may_retry`.

    `about` is empty where it would only repeat the title.
    """

    type: str
    code: str
    status: int
    title: str
    about: str
    detail: str
    may_retry: bool


def explanation(error: type[LedgerError]) -> Explanation:
    """Explain a class of errors."""
    problem, about = problem_for(error), about_error(error)
    return Explanation(
        type=f"/problems/{error.code}",
        code=error.code,
        status=problem.status,
        title=problem.title,
        about="" if about.rstrip(".") == problem.title else about,
        detail=re.sub(r"![rs]}", "}", problem.advice),
        may_retry=error.may_retry,
    )


def about_error(error: type[LedgerError]) -> str:
    """Return the docstring of a class as paragraphs, each on one line."""
    paragraphs = (inspect.getdoc(error) or "").split("\n\n")
    return "\n\n".join(re.sub(r"\s+", " ", paragraph) for paragraph in paragraphs)


EXPLANATIONS: Final = {
    each.code: each for each in sorted(map(explanation, PROBLEMS), key=lambda each: (each.status, each.code))
}
"""The explanation of every code that an answer can have, by status and code."""
