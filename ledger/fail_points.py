"""Named places at which a test kills a process, to prove that a crash there neither loses nor doubles a payment.

Each place is just before or just after an effect becomes visible to another process. `fail_point` does nothing until a
test calls `arm`. The service never calls `arm` and no setting arms a place, so each place costs one comparison.
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
    "migrate.before_statement",
    "migrate.before_commit",
]

_reached: Callable[[FailPoint], None] | None = None


def fail_point(name: FailPoint) -> None:
    """Mark a place. When a test has armed the fail points, its function runs here and may end the process."""
    if _reached is not None:
        _reached(name)


def arm(reached: Callable[[FailPoint], None] | None) -> None:
    """Make `fail_point` call a function with the name of each place that the process reaches; None disarms."""
    global _reached  # noqa: PLW0603 - the switch is for the whole process
    _reached = reached
