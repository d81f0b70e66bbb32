"""Compares the database's clock, by which entries are due, with the steady clock of this process.

An inquiry may be made only when the time that the gateway needs to settle has really passed since the call: a gateway
that is asked too early says that it never received the payment, and pays afterwards. When the database's clock is set
forward, an inquiry is due too early. So a worker makes inquiries only while the database's clock has run evenly for
as long as a gateway needs to settle. Either the call was recorded in that time, and then the clock tells it rightly; or
it was recorded before, and then that time has passed since. Which worker made the call, and whether it still lives,
does not matter.

A late inquiry comes an hour or a day after a failure, which is longer than many a worker runs. So a worker that sees
the clock set forward puts the late inquiries off by the step. Every worker that sees it does so, and none puts one off
beyond its whole wait from then on. A step while no worker runs is not seen.

When the clock is set back, entries would wait until it has caught up. No entry may wait for longer than the retry
policy lets it, so a worker bounds the waits when it begins and when it sees the clock set.

Every answer about the queue contains the time by the database's clock. A reading lies between two readings of the
steady clock, which bound the difference of the two clocks; a difference that leaves the former bounds is a step.
"""

import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from ledger.store.array_parameters import Bigints
from ledger.store.statements import load_statements
from processors.payments.retry_policy import RetryPolicy

SQL: Final = load_statements("processors.payments", "clock_watch.sql")

STEP_SECONDS_MIN: Final = 0.25
"""A smaller step is not seen; it shortens the wait before an inquiry by no more than this."""

_WAIT_SECONDS_MAX: Final = 1e9  # some thirty years, which every clock can add to its time

DRIFT_MAX: Final = 0.001
"""How much slower or faster the database's clock may run; NTP slews a clock by half of this."""


class ClockWatch:
    """One worker's knowledge of the database's clock. It begins with the first reading.

    `forward_seconds` is how far, at most, the last step that it saw set the clock forward; 0 for one back.
    """

    def __init__(self, *, steady: Callable[[], float] = time.monotonic) -> None:
        self.steady = steady
        self.forward_seconds = 0.0
        self._bounds: tuple[float, float] | None = None
        self._read_at = 0.0
        self._even_since = 0.0

    def read(self, clock: datetime, *, sent: float) -> bool:
        """Take in a reading that was asked for at `sent`, by the steady clock. Tells whether the clock was set."""
        now = self.steady()
        low, high = clock.timestamp() - now, clock.timestamp() - sent
        before, self._bounds = self._bounds, (low, high)
        drift = DRIFT_MAX * (now - self._read_at)
        self._read_at = now
        if before is None:
            self._even_since = now
            return False
        at_least, at_most = before[0] - drift, before[1] + drift
        if low > at_most + STEP_SECONDS_MIN or high < at_least - STEP_SECONDS_MIN:
            self._even_since = now
            self.forward_seconds = max(0.0, high - at_least)
            return True
        if max(low, at_least) <= min(high, at_most):
            self._bounds = max(low, at_least), min(high, at_most)
        return False

    def even_for(self) -> float:
        """Return for how many seconds the clock has been seen to run evenly."""
        return 0.0 if self._bounds is None else self.steady() - self._even_since


async def bound_waits(
    connection: psycopg.AsyncConnection[Any], policy: RetryPolicy, *, lease: timedelta, forward_seconds: float = 0.0
) -> None:
    """Let no entry wait, and no lease last, for longer than they may from now on.

    `forward_seconds` is how far the clock was set forward just now; late inquiries come later by that.
    """
    first, longest = policy.inquiry_wait_seconds_max
    waits = {
        "retry": _interval(policy.retry_wait_seconds_max),
        "inquiry": _interval(first),
        "inquiry_max": _interval(longest),
    }
    await connection.execute(SQL["bound_due_times"], waits)
    late_waits = [_interval(seconds) for seconds in policy.late_wait_seconds_max]
    if forward_seconds:
        late = {"waits": late_waits, "forward": _interval(forward_seconds)}
        await connection.execute(SQL["put_off_late_inquiries"], late)
    else:
        await connection.execute(SQL["bound_late_inquiries"], {"waits": late_waits})
    await connection.execute(SQL["bound_leases"], {"lease": lease})


async def give_back(connection: psycopg.AsyncConnection[Any], payment_ids: Collection[int], worker: str) -> None:
    """Give back inquiries that a worker has claimed and not made."""
    if payment_ids:
        await connection.execute(SQL["give_back"], {"payment_ids": Bigints(payment_ids), "worker": worker})


def _interval(seconds: float) -> timedelta:
    return timedelta(seconds=min(seconds, _WAIT_SECONDS_MAX))
