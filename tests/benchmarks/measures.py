"""What a measurement brings: one `Run` for each repetition, several of them a `Measured`.

Rates are per second, latencies in milliseconds, CPU in seconds by process, memory in MiB, WAL and disk in bytes.
"""

from statistics import median
from typing import Any

from msgspec import Struct, field


class Load(Struct, frozen=True, kw_only=True):
    """What a load generator did: requests answered well, and all others, with the latencies of the former.

    `cpu_seconds` is its own over `seconds`. `lag_ms` is by how much its loop was behind, as a median, where it has one
    of its own; `payments` is how many were accepted in all, its warm-up included.
    """

    program: str
    requests: int
    failures: int
    seconds: float
    cpu_seconds: float
    latency_ms_p50: float
    latency_ms_p99: float
    latency_ms_max: float
    payments: int = 0
    lag_ms: float = 0.0
    readable_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def core_share(self) -> float:
        """How much of one core the generator took."""
        return self.cpu_seconds / self.seconds


class Spent(Struct, frozen=True, kw_only=True):
    """What a stretch of time took: CPU and peak memory by process, WAL, and growth of the database.

    `elsewhere_cores` is how many cores others kept busy meanwhile, who have nothing to do with it.
    """

    seconds: float
    cpu_seconds: dict[str, float]
    memory_mib: dict[str, float]
    wal_bytes: int
    disk_bytes: int
    elsewhere_cores: float


class Run(Struct, frozen=True, kw_only=True):
    """One repetition: the value that counts, of how many payments or requests, and what they took."""

    value: float
    count: int
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    spent: Spent | None = None
    load: Load | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Measured(Struct, frozen=True, kw_only=True):
    """All repetitions of one measurement. `makes_payments` says whether WAL and disk a payment mean anything."""

    name: str
    runs: list[Run]
    makes_payments: bool = False

    @property
    def value(self) -> float:
        """The median of all repetitions."""
        return median(run.value for run in self.runs)

    @property
    def spread(self) -> float:
        """How far the repetitions lie apart, as a share of their median."""
        values = [run.value for run in self.runs]
        return (max(values) - min(values)) / self.value if self.value else 0.0

    def latency_ms(self, which: str) -> float | None:
        """The median over the repetitions of their p50 or p99."""
        found = [value for run in self.runs if (value := getattr(run, f"latency_ms_{which}")) is not None]
        return median(found) if found else None


def percentile(values: list[float], share: float) -> float:
    """Give the value below which a share of the values lies. The list need not be sorted; an empty one gives 0."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
