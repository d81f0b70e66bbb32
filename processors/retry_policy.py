"""How long to wait before the gateway is called or asked again.

A pure function of numbers: the jitter comes in as a number between 0 and 1, and delays go out as durations, because the
schedule runs on the database's clock. Attempts double the delay up to a cap; inquiries about a payment in doubt
start at the time the gateway needs to settle and double up to an hour, since nobody waits for them any more.
"""

from typing import Final

from msgspec import Struct

INQUIRY_INTERVAL_SECONDS_MAX: Final = 3600.0
_DOUBLINGS_MAX: Final = 64  # beyond this a float would overflow in the end, and every cap has long been reached


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """The settings by which a payment is tried again; the defaults are those of the original.

    `attempts_max` counts the calls of one series. `settle_seconds` is how long after the last call an inquiry is worth
    its while. `inquiry` is false for a gateway that cannot be asked.
    """

    attempts_max: int = 3
    base_seconds: float = 1.0
    cap_seconds: float = 30.0
    jitter_seconds: float = 0.5
    settle_seconds: float = 5.0
    inquiry: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a policy that no payment could follow."""
        if self.attempts_max < 1:
            raise ValueError("attempts_max must be 1 or more")
        seconds = (self.base_seconds, self.cap_seconds, self.jitter_seconds, self.settle_seconds)
        if not all(0 <= value < float("inf") for value in seconds):
            raise ValueError("base, cap, jitter and settle seconds must be 0 or more, and finite")

    def delay_seconds(self, attempt: int, *, retry_after_seconds: float | None = None, jitter: float) -> float:
        """Say how long to wait after an attempt, which counts from 1: min(cap, base * 2^(n-1)) + jitter.

        A longer `retry_after_seconds`, the gateway's own wish, is honoured up to the cap. `jitter` is between 0 and 1
        and spreads what would otherwise come all at once.
        """
        wait = _doubled(self.base_seconds, attempt, at_most=self.cap_seconds)
        if retry_after_seconds is not None:
            wait = max(wait, min(self.cap_seconds, retry_after_seconds))
        return wait + self._jitter(jitter)

    def inquiry_delay_seconds(self, inquiry: int, *, jitter: float) -> float:
        """Say how long to wait before an inquiry, which counts from 1 in its series.

        The first comes as soon as the gateway has settled; the others at growing intervals up to an hour.
        """
        interval_max = max(INQUIRY_INTERVAL_SECONDS_MAX, self.settle_seconds)
        start = self.settle_seconds if inquiry == 1 else max(self.settle_seconds, self.base_seconds, 1.0)
        return _doubled(start, inquiry, at_most=interval_max) + self._jitter(jitter)

    def _jitter(self, jitter: float) -> float:
        assert 0 <= jitter <= 1, "jitter is a share of jitter_seconds"
        return jitter * self.jitter_seconds


def _doubled(start: float, count: int, *, at_most: float) -> float:
    assert count >= 1, "attempts and inquiries count from 1"
    return min(at_most, start * 2.0 ** min(count - 1, _DOUBLINGS_MAX))
