"""The targets in one place: each limit as data, and the comparison of a measurement with it.

A target is a ratio of a measured value to a reference of the same run (T, S, L), or to another measurement of the same
run. It can also limit the value itself.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from tests.benchmarks.measuring.measures import Measured
from tests.benchmarks.scenarios.asking_for_keys import DEPOSITS, READS
from tests.benchmarks.scenarios.large_store import AT_A_TIME, LONG_ROUTES, ROUTES, START

Of = Literal["value", "p50", "p99"]


class Target(Struct, frozen=True, kw_only=True):
    """One limit: the measurement, its value, the reference, and the limit."""

    scenario: int
    measure: str
    of: Of = "value"
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def words(self) -> str:
        """The limit as the report shows it."""
        sign, limit = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        return f"{sign} {limit:g} {self.against}".rstrip()


class Verdict(Struct, frozen=True, kw_only=True):
    """A target, the ratio that was reached, and whether it meets the limit. Without a ratio it was not measured."""

    target: Target
    ratio: float | None
    met: bool


def _latencies(scenario: int, measure: str, p99: float) -> Target:
    return Target(scenario=scenario, measure=measure, of="p99", against="L", at_most=p99)


def _no_slower(measure: str) -> Target:
    """The large store's value is within 1.25 of the small one's."""
    return Target(scenario=10, measure=f"{measure}, large store", against=f"{measure}, small store", at_least=1 / 1.25)


TARGETS: Final[Sequence[Target]] = (
    Target(scenario=1, measure="one writer", against="T", at_least=3.0),
    Target(scenario=1, measure="one writer", against="S", at_least=12.0),
    Target(scenario=1, measure="two writers", against="one writer", at_least=0.9),
    Target(scenario=2, measure="POST deposit", against="T", at_least=1.1),
    _latencies(2, "POST deposit", 15),
    Target(scenario=3, measure="POST batch", against="T", at_least=2.0),
    Target(scenario=4, measure="settled", against="T", at_least=0.25),
    Target(scenario=5, measure="accepted", of="p50", against="L", at_most=2),
    _latencies(5, "accepted", 8),
    Target(scenario=5, measure="success readable", of="p50", against="L", at_most=15),
    _latencies(5, "success readable", 50),
    Target(scenario=6, measure="settled, one account", against="settled", at_least=0.8),
    Target(scenario=7, measure="settled, bad gateway", against="allowed by the attempts", at_least=0.8),
    Target(scenario=7, measure="longest pause between successes", at_most=0.5),
    Target(scenario=8, measure="rebuild", against="T", at_least=8),
    Target(scenario=9, measure="verify seals", against="T", at_least=25),
    _no_slower("POST deposit"),
    _no_slower("settled"),
    *(_no_slower(route) for route in (*ROUTES, *LONG_ROUTES)),
    Target(scenario=10, measure=f"{AT_A_TIME}, large store", of="p50", against="L", at_most=5),
    Target(scenario=10, measure=f"{START}, large store", at_most=5),
    Target(scenario=11, measure="api MiB", at_most=300),
    Target(scenario=11, measure="worker MiB", at_most=300),
    Target(scenario=11, measure="api growth", at_most=1.1),
    Target(scenario=11, measure="worker growth", at_most=1.1),
    Target(scenario=11, measure="queue growth", at_most=1.5),
    Target(scenario=12, measure="idle", at_most=0.02),
    Target(scenario=13, measure="GET payment", against="T", at_least=2.0),
    _latencies(13, "GET payment", 15),
    Target(scenario=13, measure="GET user", against="T", at_least=2.0),
    _latencies(13, "GET user", 15),
    Target(scenario=13, measure="GET page of 50", against="T", at_least=0.6),
    *(Target(scenario=14, measure=f"{kind}, rate with keys", at_least=0.93) for kind in (DEPOSITS, READS)),
    *(Target(scenario=14, measure=f"{kind}, CPU with keys", at_most=1.07) for kind in (DEPOSITS, READS)),
    Target(scenario=15, measure="scrape, least ms", at_most=5),
    Target(scenario=16, measure="p99 beside 1,000 slow clients", against="p99 in calm", at_most=3),
    Target(scenario=17, measure="offered load", against="bearable load", at_least=2.7),
    Target(scenario=17, measure="accepted under three times the load, p99 ms", at_most=1_000),
    Target(scenario=17, measure="refused under three times the load, longest ms", at_most=5_000),
    Target(scenario=17, measure="unanswered under three times the load", at_most=0),
    Target(scenario=17, measure="seconds until p99 is normal", at_most=10),
)


def judge(
    targets: Sequence[Target], measured: Mapping[str, Measured], references: Mapping[str, Mapping[str, float]]
) -> list[Verdict]:
    """Compare measurements with their targets.

    `references` maps each measurement's name to the values of T, S and L around it.
    """
    return [_judge(target, measured, references) for target in targets]


def _judge(target: Target, measured: Mapping[str, Measured], references: Mapping[str, Mapping[str, float]]) -> Verdict:
    found = measured.get(target.measure)
    value = None if found is None else _value(found, target.of)
    against = _against(target, measured, references)
    if value is None or not against:
        return Verdict(target=target, ratio=None, met=False)
    ratio = value / against
    enough = target.at_least is None or ratio >= target.at_least
    little = target.at_most is None or ratio <= target.at_most
    return Verdict(target=target, ratio=ratio, met=enough and little)


def _value(found: Measured, of: Of) -> float | None:
    return found.value if of == "value" else found.latency_ms(of)


def _against(
    target: Target, measured: Mapping[str, Measured], references: Mapping[str, Mapping[str, float]]
) -> float | None:
    if not target.against:
        return 1.0
    if target.against in measured:
        return measured[target.against].value
    return references.get(target.measure, {}).get(target.against)
