"""The results of a measurement: a `Run` for each repetition, and all of them as a `Measured`.

Rates are per second, latencies in milliseconds, CPU in seconds by process, memory in MiB, WAL and disk in bytes.
"""

from statistics import median
from typing import Any

from msgspec import Struct, field


class Load(Struct, frozen=True, kw_only=True):
    """The result of a load generator: good answers with their latencies, and all other answers.

    `cpu_seconds` is its own CPU over `seconds`. `lag_ms` is the median delay of its loop, if it has one. `payments` is
    the number of all accepted payments, those of the warm-up included.
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
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def core_share(self) -> float:
        """The share of one core that the generator used."""
        return self.cpu_seconds / self.seconds


class Spent(Struct, frozen=True, kw_only=True):
    """The resources used in a period: CPU and peak memory by process, WAL, and growth of the database.

    `elsewhere_cores` is the number of cores that unrelated processes kept busy.
    """

    seconds: float
    cpu_seconds: dict[str, float]
    memory_mib: dict[str, float]
    wal_bytes: int
    disk_bytes: int
    elsewhere_cores: float


class Run(Struct, frozen=True, kw_only=True):
    """One repetition: its value, the number of payments or requests, and the resources used."""

    value: float
    count: int
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    spent: Spent | None = None
    load: Load | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Measured(Struct, frozen=True, kw_only=True):
    """All repetitions of one measurement. `makes_payments` says whether WAL and disk per payment are meaningful."""

    name: str
    runs: list[Run]
    makes_payments: bool = False

    @property
    def value(self) -> float:
        """The median of all repetitions."""
        return median(run.value for run in self.runs)

    @property
    def spread(self) -> float:
        """The range of the repetitions, as a share of their median."""
        values = [run.value for run in self.runs]
        return (max(values) - min(values)) / self.value if self.value else 0.0

    def latency_ms(self, which: str) -> float | None:
        """The median over the repetitions of their p50 or p99."""
        found = [value for run in self.runs if (value := getattr(run, f"latency_ms_{which}")) is not None]
        return median(found) if found else None


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values is. The list need not be sorted; an empty one gives 0."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
