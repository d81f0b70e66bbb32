"""The bound of calls under way, which the workers of one process share: one worker for each partition.

Each worker has slots that no other one may take, and the rest is for whichever needs it. So a worker whose database
cannot be reached, and whose calls therefore keep their slots, never holds up the others, and one that alone has work
uses most of the bound. A single worker has all of it.

A worker takes slots before it claims, because the claim of another worker may run at the same time, and gives back the
ones that it does not use. All of this runs on one event loop.
"""

from collections.abc import Callable
from typing import Final

OWN_PART: Final = 2
"""One over this part of the bound is divided over the workers as slots of their own."""


class TooFewSlots(ValueError):
    """The bound is smaller than the number of workers, so that one of them could make no call."""


class CallSlots:
    """The slots of one process, `total` for `workers`. Raises TooFewSlots."""

    def __init__(self, total: int, *, workers: int = 1) -> None:
        if total < workers:
            raise TooFewSlots(f"{total} calls at a time are too few for {workers} workers")
        self.own = total if workers == 1 else max(1, total // (OWN_PART * workers))
        self.common_free = total - workers * self.own
        self._shares: list[WorkerSlots] = []
        self._workers = workers

    def worker(self, wake: Callable[[], None]) -> "WorkerSlots":
        """Give the slots of one more worker, which `wake` wakes when it has found none and one is free again."""
        assert len(self._shares) < self._workers, "there are more workers than the slots were divided for"
        share = WorkerSlots(self, wake)
        self._shares.append(share)
        return share

    def wake_waiting(self, given_back_to: "WorkerSlots | None") -> None:
        """Wake the workers that wait for a slot: one of them for a slot of its own, all of them for a common one."""
        for share in self._shares if given_back_to is None else [given_back_to]:
            share.wake_if_waiting()


class WorkerSlots:
    """The slots of one worker: those of its own, and its part in the common ones."""

    def __init__(self, slots: CallSlots, wake: Callable[[], None]) -> None:
        self._slots = slots
        self._own_free = slots.own
        self._common_taken = 0
        self._wake = wake
        self._waiting = False

    def take(self) -> int:
        """Take all free slots, for a claim, and return their number; with 0 the worker is woken when one is free."""
        taken = self._own_free + self._slots.common_free
        self._common_taken += self._slots.common_free
        self._own_free = self._slots.common_free = 0
        self._waiting = taken == 0
        return taken

    def give_back(self, count: int = 1) -> None:
        """Give slots back: common ones first, which every worker can use."""
        if count == 0:
            return
        common = min(count, self._common_taken)
        self._common_taken -= common
        self._slots.common_free += common
        self._own_free += count - common
        assert self._own_free <= self._slots.own, "more slots were given back than were taken"
        self._slots.wake_waiting(None if common else self)

    def wake_if_waiting(self) -> None:
        """Wake the worker if it has found no slot."""
        if self._waiting:
            self._waiting = False
            self._wake()
