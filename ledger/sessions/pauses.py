"""Pauses between tries: they grow, and each is random, so that many who try again do not all do so at one time."""

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 1.0
"""For everyone who makes a lost session again: short, because the other end is often back within a moment."""

_GROWTH: Final = 2.0


class Pauses:
    """The pauses of one caller. Each is drawn from the upper half of a limit that doubles, up to the longest pause."""

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._limit_seconds = FIRST_SECONDS
        self._jitter = jitter

    def next_seconds(self) -> float:
        """Return the length of the next pause."""
        limit = self._limit_seconds
        self._limit_seconds = min(LONGEST_SECONDS, limit * _GROWTH)
        return limit * (1 + self._jitter()) / 2
