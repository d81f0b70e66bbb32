"""Micro-batching: the pause in which a burst gathers, so that it is handled as one batch.

A transaction, a claim, a page and a wake-up each cost about as much for twenty items as for one. A loop that has just
handled a batch therefore pauses before it looks for the next one. It does not pause after a full batch, because then
more items wait already, and the first item after a quiet time never waits.
"""

from typing import Final

from msgspec import Struct


class MicroBatch(Struct, frozen=True, kw_only=True):
    """The policy of one loop: the length of its pause, and how many waiting items make the pause needless.

    From `halve_from` waiting items on that came one by one, half of the waiting ones are a batch. Clients that are all
    answered at once all come back at once: then the loop waits for them, and they wait for the loop.
    """

    pause_seconds: float
    enough: int | None = None
    halve_from: int | None = None

    def pause_before(self, waiting: int) -> float:
        """Return how long to pause, in seconds, while so many items wait."""
        return 0.0 if self.enough is not None and waiting >= self.enough else self.pause_seconds

    def batch_of(self, waiting: int, *, alone: int) -> int:
        """Return how many of the waiting items to handle now; `alone` of them came one by one."""
        return waiting if self.halve_from is None or alone < self.halve_from else (waiting + 1) // 2


COMMANDS: Final = MicroBatch(pause_seconds=0.0015, enough=24, halve_from=48)
"""For the writer. It is short, because a client waits for each command."""

NEWS: Final = MicroBatch(pause_seconds=0.01)
"""For wake-ups, claims of queue entries, and pages of the log. Each of them takes all that is new."""
