"""A load generator that was the bottleneck has measured itself, so it fails the run."""

import pytest

from tests.benchmarks.load.generator import GeneratorTooSlow, ensure_not_the_bottleneck
from tests.benchmarks.measuring.measures import Load


def load(*, cpu_seconds: float = 1.0, lag_ms: float = 0.1) -> Load:
    return Load(
        program="wrk",
        requests=1000,
        failures=0,
        seconds=10.0,
        cpu_seconds=cpu_seconds,
        latency_ms_p50=1.0,
        latency_ms_p99=2.0,
        latency_ms_max=3.0,
        lag_ms=lag_ms,
    )


def test_a_generator_that_has_time_left_passes() -> None:
    """A generator may use up to 85 % of a core."""
    ensure_not_the_bottleneck(load(cpu_seconds=8.5))


def test_a_generator_that_computes_all_the_time_fails_the_run() -> None:
    """The service's answers wait for it, and it does not wait for them."""
    with pytest.raises(GeneratorTooSlow, match="wrk computed for 86%"):
        ensure_not_the_bottleneck(load(cpu_seconds=8.6))


def test_a_generator_that_runs_late_fails_the_run() -> None:
    """Its delay is part of every latency that it measures."""
    with pytest.raises(GeneratorTooSlow, match=r"5\.1 ms late"):
        ensure_not_the_bottleneck(load(lag_ms=5.1))
