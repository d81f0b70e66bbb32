"""Named places at which a test makes a process die, to prove that dying there loses and doubles nothing.

Each stands at a boundary: before and after something becomes true for somebody else. `fail_point` does nothing until
`arm` has been called, and nothing in the service calls it; so the places cost a comparison and no setting reaches them.
"""

from collections.abc import Callable
from typing import Literal

FailPoint = Literal[
    "writer.before_lock",
    "writer.after_lock",
    "writer.before_insert",
    "writer.after_insert",
    "writer.before_commit",
    "writer.after_commit",
    "writer.before_answer",
    "writer.after_answer",
    "worker.before_claim",
    "worker.after_claim",
    "worker.before_call",
    "worker.after_call",
    "worker.before_outcome",
    "worker.after_outcome",
    "projector.before_commit",
    "projector.after_commit",
]

_reached: Callable[[FailPoint], None] | None = None


def fail_point(name: FailPoint) -> None:
    """Be at a place; whoever has armed it may end the process here."""
    if _reached is not None:
        _reached(name)


def arm(reached: Callable[[FailPoint], None] | None) -> None:
    """Have a function called with the name of each place that is reached; None disarms."""
    global _reached  # noqa: PLW0603 - one switch for the whole process is what is meant
    _reached = reached
