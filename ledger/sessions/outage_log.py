"""Lines about a database that a part of the service cannot use: when that begins, every ten seconds, when it ends.

A reason that was not told yet in the same outage gets a line too, up to REASONS_MAX of them.
"""

import time
from typing import Any, Final

import structlog

from ledger.outages import Outage

REASONS_MAX: Final = 5

_log = structlog.get_logger()


class OutageLog:
    """The lines of one part: `<part>_interrupted` and `<part>_goes_on`."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._outage = Outage()
        self._reasons: set[str] = set()

    def failed(self, because: str, **facts: Any) -> None:  # noqa: ANN401 - a logged value has any type
        """Note that the database could not be used, and why."""
        news = self._outage.failed(time.monotonic())
        reason = f"{because} {facts}"
        is_new = reason not in self._reasons and len(self._reasons) < REASONS_MAX
        if news is None and not is_new:
            return
        self._reasons.add(reason)
        _log.warning(f"{self._part}_interrupted", because=because, errors=self._outage.errors, **facts)

    def worked(self) -> None:
        """Note that the database could be used."""
        if self._outage.errors and (news := self._outage.worked(time.monotonic())):
            self._reasons.clear()
            _log.info(f"{self._part}_goes_on", errors=news.errors, after_seconds=news.seconds)
