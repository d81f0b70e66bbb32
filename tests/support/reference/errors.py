"""The reference pages of everything that can be wrong.

Errors are the codes that a client or an operator can meet, from the classes of the program. Health rules are the rows
of their table; alarms link to their sections.
"""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import groupby
from typing import Final

from api.http.problem_table import PROBLEMS, problem_for
from api.pages.explanations import about_error, explanation
from api.queries.health_rule import RULES, Rule
from ledger.errors import LedgerError
from tests.support.reference.markdown import page
from tests.support.reference.modules import import_program, is_of_program

INTRODUCTION: Final = """\
Every error that the service answers is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with a
stable `code`. The running service explains each code at the `type` of the problem, `/problems/<code>`, in the same
words as this page. Programs branch on `code`; `detail` is a sentence for people and may change. [Errors and what to do
about them](../guides/integrate.md#errors-and-what-to-do-about-them) tells a client how to react to each group, and
[routes](routes.md) lists which route answers which code.

Each section has the title in italics, then the `detail` with the facts that fill it in braces. *Try again* marks the
errors after which the same request may succeed later; such an answer carries `Retry-After`. The command line shows the
same errors as a sentence and ends with exit code 1 or 2."""


HEALTH: Final = """\
One table of rules decides whether the service is well. `GET /api/v1/health` gives the findings as sentences in `wrong`,
and with name, severity and remedy in `findings`. `payment-ledger status` ends with the same sentences. `payment-ledger
doctor` prints every row, and its exit code is that of the worst: 3 for a warning, 4 for an error, 5 for a critical
fault. `GET /readyz` is 503 while a rule that stops requests is true, with several partitions in each of them.
[Monitor](../guides/operate/monitor.md) says which of these to ask.

A warning has time until tomorrow. An error holds up some payments or reads. A critical fault refuses payments, or can
lose them."""


def errors_page() -> str:
    """Write the page."""
    classes = sorted(error_classes(), key=lambda each: (problem_for(each).status, each.code))
    answered = [each for each in classes if each in PROBLEMS]
    sections = [_status(*each) for each in groupby(answered, lambda each: problem_for(each).status)]
    others = [each for each in classes if each not in PROBLEMS]
    sections.append("## Errors of commands and processes")
    sections.append("No request meets these; the command line and the logs show them.")
    sections += [f"### {each.code}\n\n{about_error(each)}" for each in others]
    return page("Errors", INTRODUCTION, sections)


def error_classes() -> set[type[LedgerError]]:
    """Find every class of error of the program that something raises: those without classes below them."""
    import_program()
    found = {each for each in _below(LedgerError) if is_of_program(each)}
    return {each for each in found if not any(is_of_program(below) for below in each.__subclasses__())}


def _below(error: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for each in error.__subclasses__():
        yield each
        yield from _below(each)


def _status(status: int, classes: Iterable[type[LedgerError]]) -> str:
    return "\n\n".join([f"## {status} {HTTPStatus(status).phrase}", *map(_problem, classes)])


def _problem(error: type[LedgerError]) -> str:
    explained = explanation(error)
    retry = "Try again: yes." if explained.may_retry else ""
    pieces = [f"### {explained.code}", explained.about, f"*{explained.title}.* {explained.detail}", retry]
    return "\n\n".join(piece for piece in pieces if piece)


def health_page() -> str:
    """Write the page."""
    return page("Health rules", HEALTH, [_rule(rule) for rule in RULES])


def _rule(rule: Rule) -> str:
    stops = "Requests are refused while it is true. " if rule.stops_requests else ""
    return f"## {rule.name}\n\n{rule.severity.capitalize()}. {stops}{rule.condition}\n\nRemedy: {rule.remedy}"
