"""When a repeated error is worth a line of the log: a long outage must not fill it.

Both classes are pure: the time, in seconds of any steady clock, comes in as an argument, and the caller writes the
line. `Outage` follows something that fails until it works again. `LineBudget` limits lines about single events.
"""

import math
from typing import Final, Literal

from msgspec import Struct

EVERY_SECONDS: Final = 10.0
"""How often an outage that goes on is told, with its count."""


class OutageNews(Struct, frozen=True):
    """One line about an outage: what it tells, the errors since the first one, and the seconds since then."""

    phase: Literal["began", "goes_on", "ended"]
    errors: int
    seconds: float


class Outage:
    """Errors without a success between them.

    They are an outage from the `errors_min`-th on, or when the first was `seconds_min` ago. There is news when it
    begins, every `every_seconds` while errors come, and when it ends.
    """

    def __init__(
        self, *, errors_min: int = 1, seconds_min: float = math.inf, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._errors_min = errors_min
        self._seconds_min = seconds_min
        self._every_seconds = every_seconds
        self.is_on = False
        self.errors = 0
        self._since = 0.0
        self._told_at = 0.0

    def failed(self, now: float) -> OutageNews | None:
        """Count an error; the news, if it is time for any."""
        if self.errors == 0:
            self._since = now
        self.errors += 1
        if not self.is_on:
            self.is_on = self.errors >= self._errors_min or now - self._since >= self._seconds_min
            return self._news("began", now) if self.is_on else None
        return self._news("goes_on", now) if now - self._told_at >= self._every_seconds else None

    def worked(self, now: float) -> OutageNews | None:
        """Note a success; the news that the outage has ended, if there was one."""
        news = self._news("ended", now) if self.is_on else None
        self.is_on, self.errors = False, 0
        return news

    def _news(self, phase: Literal["began", "goes_on", "ended"], now: float) -> OutageNews:
        self._told_at = now
        return OutageNews(phase, self.errors, now - self._since)


class LineBudget:
    """Limits lines to `lines_max` in any `every_seconds` that begin with a line, and counts the others."""

    def __init__(self, *, lines_max: int = 10, every_seconds: float = EVERY_SECONDS) -> None:
        self._lines_max = lines_max
        self._every_seconds = every_seconds
        self._until = -math.inf
        self._lines = 0
        self._unsaid = 0

    def take(self, now: float) -> int | None:
        """Ask for a line; how many were refused since the last one, or None when this one is refused too."""
        if now >= self._until:
            self._until, self._lines = now + self._every_seconds, 0
        if self._lines >= self._lines_max:
            self._unsaid += 1
            return None
        self._lines += 1
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid
