"""The errors that an audit finds, with their positions, and its report, which lists the first of them."""

from typing import Final

from msgspec import Struct

from ledger.errors import LogBroken

ERRORS_MAX: Final = 100


class AuditError(Struct, frozen=True):
    """An error at a position of the log; `what` is a sentence for an operator."""

    position: int
    what: str


class AuditReport(Struct, frozen=True, kw_only=True):
    """The result of an audit: `ok` without errors, and the number of `events` that were checked.

    `digest` is the seal of the last event, at `position`, in hex. `errors` are the first by position, at most
    ERRORS_MAX.
    """

    ok: bool
    events: int
    position: int
    digest: str
    errors: list[AuditError]


class Findings:
    """The errors found so far. It keeps only the first ERRORS_MAX by position."""

    def __init__(self) -> None:
        self._errors: list[AuditError] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, position: int, what: str) -> None:
        """Add an error at a position."""
        self._errors.append(AuditError(position, what))
        if len(self._errors) > 2 * ERRORS_MAX:
            self._errors = self.first

    @property
    def first(self) -> list[AuditError]:
        """The errors to list, by position; errors at one position are in the order in which they were found."""
        return sorted(self._errors, key=lambda error: error.position)[:ERRORS_MAX]

    def refuse(self) -> None:
        """Raise LogBroken with the first error, if there is one."""
        if self._errors:
            first = self.first[0]
            raise LogBroken(position=first.position, what=first.what)
