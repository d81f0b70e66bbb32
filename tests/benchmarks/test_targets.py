"""A run passes only if every target was measured and met, and nothing failed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks.__main__ import EXPECTED, LARGE, SCENARIOS, Runner, chosen
from tests.benchmarks.measuring.measures import Measured, Run, percentile
from tests.benchmarks.measuring.references import Reference, References
from tests.benchmarks.measuring.report import Report
from tests.benchmarks.measuring.server import Server
from tests.benchmarks.measuring.targets import TARGETS, Target, judge
from tests.benchmarks.running import Bench, Scenario, Sizes

AROUND = {"T": 1000.0, "L": 4.0, "S": 100.0}


def measured(name: str, *values: float, p99: float | None = None) -> Measured:
    return Measured(name=name, runs=[Run(value=value, count=1, latency_ms_p99=p99) for value in values])


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (Target(scenario=1, measure="a", against="T", at_least=2.0), 2.0, True),
        (Target(scenario=1, measure="a", against="T", at_least=2.1), 2.0, False),
        (Target(scenario=1, measure="a", against="S", at_least=20), 20.0, True),
        (Target(scenario=1, measure="a", of="p99", against="L", at_most=10), 10.0, True),
        (Target(scenario=1, measure="a", of="p99", against="L", at_most=9), 10.0, False),
        (Target(scenario=1, measure="b", against="a", at_least=0.5), 0.5, True),
        (Target(scenario=1, measure="b", at_most=999), 1000.0, False),
        (Target(scenario=1, measure="c", at_most=1), None, False),
        (Target(scenario=1, measure="b", of="p99", against="L", at_most=1), None, False),
        (Target(scenario=1, measure="b", against="T", at_least=1), None, False),
    ],
)
def test_a_target_is_a_ratio_to_what_was_measured_beside_it(target: Target, ratio: float | None, met: bool) -> None:  # noqa: FBT001 - a column of the table
    """A target without a measurement is not met."""
    found = {"a": measured("a", 1500.0, 2000.0, 9000.0, p99=40.0), "b": measured("b", 1000.0)}

    (verdict,) = judge([target], found, {"a": AROUND})

    assert (ratio, met) == (verdict.ratio, verdict.met)


def test_a_run_with_a_failure_or_a_missed_target_is_not_well() -> None:
    """The exit code depends on it."""
    target = Target(scenario=1, measure="a", at_least=2.0)
    good, bad = (judge([target], {"a": measured("a", value)}, {}) for value in (2.0, 1.0))

    def report(verdicts: list[object], *failures: str) -> Report:
        return Report(machine={}, references=[], measured=[], verdicts=verdicts, failures=list(failures))  # type: ignore[arg-type]

    assert report([*good]).ok
    assert not report([*bad]).ok
    assert not report([*good], "the books are wrong").ok


class Steady(References):
    """References with constant values."""

    def __init__(self) -> None:
        """They need no server."""

    def measure(self) -> Reference:
        return Reference(transactions=1000.0, latency_ms=4.0, saves=100.0, loop_ms=10.0)


@pytest.mark.parametrize("failure", [*EXPECTED, ValueError])
def test_a_scenario_whose_figures_do_not_count_fails_the_run_and_leaves_the_others(failure: type[Exception]) -> None:
    """Its figures are left out, and the report names the reason."""

    def fail(_: Bench) -> Sequence[Measured]:
        raise failure("this is wrong")

    bench = Bench(Server(Path(), ""), repeats=1, quick=True, sizes=Sizes())
    runner = Runner(bench, Steady(), Console(quiet=True))

    runner.run(
        [
            Scenario(numbers=(1,), title="bad", measure=fail),
            Scenario(numbers=(2,), title="good", measure=lambda _: [measured("a", 1.0)]),
        ]
    )

    assert len(runner.failures) == 1
    assert "1, bad" in runner.failures[0]
    assert "this is wrong" in runner.failures[0]
    assert [found.name for found in runner.measured] == ["a"]
    assert runner.around == {"a": AROUND}


def test_every_scenario_has_targets_and_a_measurement() -> None:
    """The scenarios are numbered one to seventeen; ten, eleven and fifteen run only on request: they take an hour."""
    assert sorted(SCENARIOS) == list(range(1, 18))
    assert {target.scenario for target in TARGETS} == set(SCENARIOS)
    numbers = [number for scenario in chosen([], large=False) for number in scenario.numbers]
    assert set(SCENARIOS) - set(LARGE) == set(numbers)
    assert set(LARGE) == {number for scenario in chosen([], large=True) for number in scenario.numbers}


def test_a_scenario_brings_along_what_it_is_held_against() -> None:
    """No scenario is measured twice."""
    assert [scenario.numbers for scenario in chosen([6], large=False)] == [(4,), (6,)]
    assert [scenario.numbers for scenario in chosen([9, 8], large=False)] == [(8, 9)]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """This holds for the last percentile too, and the percentile of an empty list is 0."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(100)], 0.99) == 99.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([], 0.5) == 0.0
