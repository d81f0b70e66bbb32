"""Whether a load generator measured the service or itself."""

from typing import Final

from tests.benchmarks.measuring.measures import Load

CORE_SHARE_MAX: Final = 0.85
"""A generator that uses more of a core than this has too little time left to react, and answers wait for it."""

LAG_MS_MAX: Final = 5.0
"""The maximum of the median delay of a generator's loop. Half of all latencies include at least the median delay."""


class GeneratorTooSlow(Exception):
    """The load generator was the bottleneck, so its figures say nothing about the service."""


def ensure_not_the_bottleneck(load: Load) -> None:
    """Check a generator's CPU and delay. Raises GeneratorTooSlow."""
    if load.core_share > CORE_SHARE_MAX:
        raise GeneratorTooSlow(
            f"{load.program} computed for {load.core_share:.0%} of the measured time,"
            f" and {CORE_SHARE_MAX:.0%} is the most"
        )
    if load.lag_ms > LAG_MS_MAX:
        raise GeneratorTooSlow(
            f"the loop of {load.program} ran {load.lag_ms:.1f} ms late at the median, and {LAG_MS_MAX:g} ms is the most"
        )
