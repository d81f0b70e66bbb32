"""How work that takes long tells how far it is; a caller who does not care passes `no_progress`."""

from collections.abc import Callable
from typing import TypeVar

StageT = TypeVar("StageT", bound=str)

Progress = Callable[[StageT, int, int], None]
"""Called with a stage, and how much of it is done of how much; 0 where nobody knows how much that is."""

PartProgress = Callable[[int, int], None]
"""The same of work that has one stage: how much is done, and of how much."""

BytesRead = Callable[[int], None]
"""Called with how many bytes have been read from a stream, of which nobody knows how long it is."""


def no_progress(*_how_far: object) -> None:
    """Tell nobody."""
