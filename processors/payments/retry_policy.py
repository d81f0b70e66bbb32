"""How long to wait before the next call or inquiry.

The policy is a pure function of numbers: jitter is an argument between 0 and 1, and delays are returned as durations,
because the schedule uses the database's clock. The delay doubles with each attempt up to a cap. Inquiries about a
payment in doubt begin after the time that the gateway needs to settle, and double up to an hour, since no client waits
for them.
"""

from itertools import pairwise
from typing import Final

from msgspec import Struct

from processors.payments.breaker import BreakerPolicy

INQUIRY_INTERVAL_SECONDS_MAX: Final = 3600.0
_DOUBLINGS_MAX: Final = 64  # every cap is reached long before; many more doublings would overflow a float


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """The settings for retries and inquiries; the defaults are those of the original.

    `attempts_max` is the number of calls in one series. `settle_seconds` is how long after the last call the first
    inquiry is made. `late_seconds` are the times after a failure at which the gateway is asked again about a payment
    that it did not know, in ascending order. `inquiry` is false for a gateway that does not support inquiries, and
    `breaker` has the settings for an outage.
    """

    attempts_max: int = 3
    base_seconds: float = 1.0
    cap_seconds: float = 30.0
    jitter_seconds: float = 0.5
    settle_seconds: float = 5.0
    late_seconds: tuple[float, ...] = (3600.0, 86400.0)
    inquiry: bool = True
    breaker: BreakerPolicy = BreakerPolicy()

    def __post_init__(self) -> None:
        """Raise ValueError for a setting out of its range."""
        if self.attempts_max < 1:
            raise ValueError("attempts_max must be 1 or more")
        seconds = (self.base_seconds, self.cap_seconds, self.jitter_seconds, self.settle_seconds)
        if not all(0 <= value < float("inf") for value in seconds):
            raise ValueError("base, cap, jitter and settle seconds must be 0 or more, and finite")
        if not all(before < after for before, after in pairwise((0.0, *self.late_seconds, float("inf")))):
            raise ValueError("late seconds must be above 0, ascending, and finite")

    def delay_seconds(self, attempt: int, *, retry_after_seconds: float | None = None, jitter: float) -> float:
        """Return the seconds to wait after an attempt, which counts from 1: min(cap, base * 2^(n-1)) + jitter.

        A longer `retry_after_seconds`, which the gateway asked for, is honoured up to the cap. `jitter`, between 0 and
        1, spreads retries that would otherwise be made at the same time.
        """
        wait = _doubled(self.base_seconds, attempt, at_most=self.cap_seconds)
        if retry_after_seconds is not None:
            wait = max(wait, min(self.cap_seconds, retry_after_seconds))
        return wait + self._jitter(jitter)

    def inquiry_delay_seconds(self, inquiry: int, *, jitter: float) -> float:
        """Return the seconds to wait before an inquiry, which counts from 1 in its series.

        The first inquiry is made after `settle_seconds`, the others at growing intervals of up to an hour. Jitter makes
        an interval longer by up to a half, so that the inquiries of one outage do not come back together.
        """
        start = self.settle_seconds if inquiry == 1 else self._interval_start
        wait = _doubled(start, inquiry, at_most=self._interval_max)
        assert 0 <= jitter <= 1, "jitter is a share"
        return wait + jitter * self._spread(wait)

    @property
    def retry_wait_seconds_max(self) -> float:
        """The longest wait for a call."""
        return self.cap_seconds + self.jitter_seconds

    @property
    def inquiry_wait_seconds_max(self) -> tuple[float, float]:
        """The longest wait for a first inquiry, which doubles with each inquiry made, and the longest for any."""
        first, longest = self._interval_start, self._interval_max
        return first + self._spread(first), longest + self._spread(longest)

    @property
    def _interval_start(self) -> float:
        return max(self.settle_seconds, self.base_seconds, 1.0)

    @property
    def _interval_max(self) -> float:
        return max(INQUIRY_INTERVAL_SECONDS_MAX, self.settle_seconds)

    def _spread(self, wait: float) -> float:
        return max(self.jitter_seconds, wait / 2)

    def late_delay_seconds(self, answered: int, *, jitter: float) -> float | None:
        """Return the seconds to wait before a late inquiry when `answered` of them have had a clear answer.

        None when no more late inquiries follow.
        """
        assert answered >= 0, answered
        if answered >= len(self.late_seconds):
            return None
        before = self.late_seconds[answered - 1] if answered else 0.0
        return self.late_seconds[answered] - before + self._jitter(jitter)

    @property
    def late_wait_seconds_max(self) -> tuple[float, ...]:
        """The longest wait for a late inquiry by the number of clear answers before it; the last is for all after."""
        waits = [after - before + self.jitter_seconds for before, after in pairwise((0.0, *self.late_seconds))]
        return (*waits, INQUIRY_INTERVAL_SECONDS_MAX)

    def _jitter(self, jitter: float) -> float:
        assert 0 <= jitter <= 1, "jitter is a share of jitter_seconds"
        return jitter * self.jitter_seconds


def _doubled(start: float, count: int, *, at_most: float) -> float:
    assert count >= 1, "attempts and inquiries count from 1"
    return min(at_most, start * 2.0 ** min(count - 1, _DOUBLINGS_MAX))
