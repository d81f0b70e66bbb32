"""Measures how fast the ledger is on this machine: `payment-ledger bench`, `make bench`.

Scenarios run on a Postgres of the benchmark's own, with the references before, between and after them. The exit code is
0 only if every target was met, every scenario's ledger was verified, everything was durable, and no load generator was
the bottleneck.
"""

import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console

from tests.benchmarks.load.generator import GeneratorTooSlow
from tests.benchmarks.measuring.durability import NotDurable
from tests.benchmarks.measuring.measures import Measured
from tests.benchmarks.measuring.parts import PartFailed
from tests.benchmarks.measuring.references import Reference, References, references_on
from tests.benchmarks.measuring.report import Report, machine, print_report
from tests.benchmarks.measuring.server import Server, serving_postgres
from tests.benchmarks.measuring.targets import TARGETS, judge
from tests.benchmarks.measuring.verification import VerificationFailed
from tests.benchmarks.running import Bench, Scenario, Sizes
from tests.benchmarks.scenarios import (
    accepting,
    asking_for_keys,
    bad_gateway,
    following,
    idling,
    large_store,
    million,
    overload,
    reading,
    replaying,
    scraping,
    settling,
    writing,
)

SCENARIOS: Final = {
    number: scenario
    for scenario in (
        Scenario(numbers=(1,), title="the writer in process", measure=writing.measure),
        Scenario(numbers=(2,), title="POST deposit", measure=accepting.measure_deposits),
        Scenario(numbers=(3,), title="POST batch", measure=accepting.measure_batches),
        Scenario(numbers=(4,), title="accepted to settled to visible", measure=settling.measure),
        Scenario(numbers=(5,), title="latency at a steady rate", measure=following.measure),
        Scenario(numbers=(6,), title="one account", measure=settling.measure_one_account, needs=(4,)),
        Scenario(numbers=(7,), title="a bad gateway", measure=bad_gateway.measure),
        Scenario(numbers=(8, 9), title="rebuild, and verify the seals", measure=replaying.measure),
        Scenario(numbers=(10,), title="a large store", measure=large_store.measure),
        Scenario(numbers=(11,), title="a million payments", measure=million.measure),
        Scenario(numbers=(12,), title="idle", measure=idling.measure),
        Scenario(numbers=(13,), title="reads", measure=reading.measure),
        Scenario(numbers=(14,), title="with keys and without", measure=asking_for_keys.measure),
        Scenario(numbers=(15,), title="a scrape", measure=scraping.measure),
        Scenario(numbers=(16,), title="slow clients", measure=overload.measure_slow_clients),
        Scenario(numbers=(17,), title="three times the load", measure=overload.measure_flood),
    )
    for number in scenario.numbers
}
LARGE: Final = (10, 11, 15)
EXPECTED: Final = (VerificationFailed, NotDurable, GeneratorTooSlow, PartFailed)
"""A scenario raises these if its figures do not count.

Any other exception is a mistake of ours, and also fails the run.
"""

REFERENCE_SECONDS: Final = 8


class Runner:
    """A run of some scenarios, and its results so far."""

    def __init__(self, bench: Bench, references: References, console: Console) -> None:
        self.references: list[Reference] = []
        self.around: dict[str, dict[str, float]] = {}
        self.measured: list[Measured] = []
        self.failures: list[str] = []
        self._bench = bench
        self._source = references
        self._console = console

    def run(self, scenarios: Iterable[Scenario]) -> None:
        """Measure the references, then each scenario with the references after it."""
        self._refer()
        for scenario in scenarios:
            which = f"{' and '.join(map(str, scenario.numbers))}, {scenario.title}"
            self._console.print(which, style="bold")
            found: Sequence[Measured] = []
            try:
                found = scenario.measure(self._bench)
            except EXPECTED as failure:
                self.failures.append(f"{which}: {failure}")
                self._console.print(self.failures[-1], style="red", markup=False)
            except Exception as failure:  # noqa: BLE001 - the other scenarios are still worth measuring
                self.failures.append(f"{which}: {type(failure).__name__}: {failure}")
                self._console.print_exception()
            self._refer()
            self.measured += found
            self.around |= {each.name: self._mean() for each in found}

    def _refer(self) -> None:
        found = self._source.measure()
        self.references.append(found)
        self._console.print(
            f"T {found.transactions:,.0f} transactions/s, L {found.latency_ms:.2f} ms, S {found.saves:,.0f} saves/s,"
            f" P {found.loop_ms:.1f} ms",
            style="dim",
        )

    def _mean(self) -> dict[str, float]:
        """The mean of the references before and after the last scenario."""
        near = self.references[-2:]
        return {
            "T": sum(each.transactions for each in near) / len(near),
            "L": sum(each.latency_ms for each in near) / len(near),
            "S": sum(each.saves for each in near) / len(near),
        }


def chosen(numbers: Sequence[int], *, large: bool) -> list[Scenario]:
    """Return the scenarios that were asked for, or all that belong to a run, each after those that it needs."""
    wanted = list(numbers) or [number for number in SCENARIOS if (number in LARGE) == large]
    with_needed = [other for number in wanted for other in (*SCENARIOS[number].needs, number)]
    found: list[Scenario] = []
    for number in with_needed:
        if (scenario := SCENARIOS[number]) not in found:
            found.append(scenario)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--scenario",
    "numbers",
    type=click.Choice([str(number) for number in SCENARIOS]),
    multiple=True,
    help="Only this one, and what it needs; may be given several times.",
)
@click.option("--large", is_flag=True, help="The scenarios on large stores and of a million payments instead.")
@click.option(
    "--repeat", type=click.IntRange(1, 20), default=3, show_default=True, help="How often what is short is measured."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything into a file."
)
@click.option("--quick", is_flag=True, help="Half the time, for trying things out; the figures are rougher.")
@click.option("--events", type=click.IntRange(10_000), help="How many events the stores of 8 and 9, or of 10, have.")
@click.option("--payments", type=click.IntRange(1_000), help="How many payments 11 makes, and 15 has.")
def main(
    numbers: Sequence[str],
    repeat: int,
    json_file: Path | None,
    events: int | None,
    payments: int | None,
    *,
    large: bool,
    quick: bool,
) -> None:
    """Measure how fast the ledger is on this machine, beside pgbench and the stock recorder on the same Postgres."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True)
    usual = Sizes()
    sizes = Sizes(
        rebuilt_events=events or usual.rebuilt_events,
        large_events=events or usual.large_events,
        large_payments=payments or usual.large_payments,
    )
    scenarios = chosen([int(number) for number in numbers], large=large)
    try:
        with serving_postgres() as server:
            report = _report(server, scenarios, console, repeat=repeat, quick=quick, sizes=sizes)
    except NotDurable as failure:
        click.echo(f"Nothing was measured: {failure}", err=True)
        sys.exit(1)
    print_report(report, Console(width=170 if not sys.stdout.isatty() else None))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    sys.exit(0 if report.ok else 1)


def _report(
    server: Server, scenarios: Sequence[Scenario], console: Console, *, repeat: int, quick: bool, sizes: Sizes
) -> Report:
    bench = Bench(server, repeats=repeat, quick=quick, sizes=sizes, tell=lambda line: console.print(line, style="dim"))
    seconds = round(bench.seconds(REFERENCE_SECONDS))
    with references_on(server, seconds=seconds) as references:
        runner = Runner(bench, references, console)
        runner.run(scenarios)
    numbers = {number for scenario in scenarios for number in scenario.numbers}
    targets = [target for target in TARGETS if target.scenario in numbers]
    measured = {found.name: found for found in runner.measured}
    return Report(
        machine=machine(),
        references=runner.references,
        measured=runner.measured,
        verdicts=judge(targets, measured, runner.around),
        failures=runner.failures,
    )


if __name__ == "__main__":
    main()
