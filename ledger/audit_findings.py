"""What an audit finds: errors with their positions, of which a report lists the first."""

from typing import Final

from msgspec import Struct

ERRORS_MAX: Final = 100


class AuditError(Struct, frozen=True):
    """Something wrong: at which position, and what."""

    position: int
    what: str


class AuditReport(Struct, frozen=True, kw_only=True):
    """What an audit found. `events` were checked; `digest` is the seal of the last one, at `position`, in hex.

    `errors` are the first by position, at most ERRORS_MAX.
    """

    ok: bool
    events: int
    position: int
    digest: str
    errors: list[AuditError]


class Findings:
    """What was found so far. However much is wrong, only the first ERRORS_MAX by position are kept."""

    def __init__(self) -> None:
        self._errors: list[AuditError] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, position: int, what: str) -> None:
        """Note that something is wrong at a position."""
        self._errors.append(AuditError(position, what))
        if len(self._errors) > 2 * ERRORS_MAX:
            self._errors = self.first

    @property
    def first(self) -> list[AuditError]:
        """The errors to be listed, by position, and at one position as they were found."""
        return sorted(self._errors, key=lambda error: error.position)[:ERRORS_MAX]
