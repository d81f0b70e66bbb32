"""Waiting for a condition, as long as a busy machine may take."""

import time
from collections.abc import Callable
from typing import Final

WITHIN_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.01


def wait_until(holds: Callable[[], bool], *, within_seconds: float = WITHIN_SECONDS) -> None:
    """Wait until a condition holds. Raises AssertionError if it does not in time."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(LOOK_SECONDS)
