"""Whether a load generator measured the service or itself."""

from typing import Final

from tests.benchmarks.measures import Load

CORE_SHARE_MAX: Final = 0.85
"""A generator that computes for more of the time than this has too little left to react in: answers wait for it."""

LAG_MS_MAX: Final = 5.0
"""How late the loop of a generator may run at the median. It is the least that it adds to half of all latencies."""


class GeneratorTooSlow(Exception):
    """The load generator was the bottleneck, so that its figures say nothing of the service."""


def ensure_not_the_bottleneck(load: Load) -> None:
    """Judge a generator by what it took. Raises GeneratorTooSlow."""
    if load.core_share > CORE_SHARE_MAX:
        raise GeneratorTooSlow(
            f"{load.program} computed for {load.core_share:.0%} of the measured time,"
            f" and {CORE_SHARE_MAX:.0%} is the most"
        )
    if load.lag_ms > LAG_MS_MAX:
        raise GeneratorTooSlow(
            f"the loop of {load.program} ran {load.lag_ms:.1f} ms late at the median, and {LAG_MS_MAX:g} ms is the most"
        )
