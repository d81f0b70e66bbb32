"""The results of a benchmark run, as tables for people and as JSON with every single run."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tests.benchmarks.measuring.measures import Measured
from tests.benchmarks.measuring.references import Reference
from tests.benchmarks.measuring.targets import Verdict

ELSEWHERE_CORES_MAX: Final = 0.3
"""If other processes, the benchmark's own watching included, use more cores than this, the report says so."""

_PLAIN_MAX: Final = 100
_CPU_SHOWN_MIN: Final = 0.0005


class Report(Struct, frozen=True, kw_only=True):
    """The whole result: the machine, the references, all runs, the verdicts, and the failures."""

    machine: dict[str, Any]
    references: list[Reference]
    measured: list[Measured]
    verdicts: list[Verdict]
    failures: list[str]

    @property
    def ok(self) -> bool:
        """Whether every target was met without a failure."""
        return not self.failures and all(verdict.met for verdict in self.verdicts)


def machine() -> dict[str, Any]:
    """Describe the machine, as far as figures depend on it."""
    return {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def print_report(report: Report, console: Console) -> None:
    """Print the verdicts, the resources used, and the references."""
    measured = {found.name: found for found in report.measured}
    console.print(_verdicts(report.verdicts, measured))
    console.print(_spent(report.measured))
    console.print(_references(report.references))
    busiest = max(
        (run.spent.elsewhere_cores for found in report.measured for run in found.runs if run.spent is not None),
        default=0.0,
    )
    if busiest > ELSEWHERE_CORES_MAX:
        console.print(
            f"Others kept up to {busiest:.1f} cores of this machine busy meanwhile: the figures are too low.",
            style="yellow",
        )
    for failure in report.failures:
        console.print(failure, style="bold red", markup=False)


def _verdicts(verdicts: Sequence[Verdict], measured: Mapping[str, Measured]) -> Table:
    table = Table(title="How fast it is here")
    table.add_column("")
    table.add_column("scenario")
    for name in ("median", "spread", "p50 ms", "p99 ms", "ratio", "target"):
        table.add_column(name, justify="right")
    table.add_column("met")
    for verdict in verdicts:
        target, found = verdict.target, measured.get(verdict.target.measure)
        what = target.measure if target.of == "value" else f"{target.measure}, {target.of}"
        figures = ("", "", "", "") if found is None else _figures(found)
        ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f} {target.against}"
        met = "yes" if verdict.met else "NO" if verdict.ratio is not None else "not measured"
        style = "green" if verdict.met else "red"
        table.add_row(str(target.scenario), what, *figures, ratio, target.words, met, style=style)
    return table


def _figures(found: Measured) -> tuple[str, str, str, str]:
    median = f"{found.value:,.0f}" if found.value >= _PLAIN_MAX else f"{found.value:.3g}"
    return median, f"{found.spread:.0%}", _milliseconds(found.latency_ms("p50")), _milliseconds(found.latency_ms("p99"))


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _spent(measured: Sequence[Measured]) -> Table:
    table = Table(
        title="What it took, in the last run of each",
        caption="A thousand payments, requests or events; of idling, a thousand seconds. WAL and disk are a payment's.",
    )
    table.add_column("scenario")
    table.add_column("CPU seconds a thousand")
    table.add_column("peak MiB")
    table.add_column("WAL B", justify="right")
    table.add_column("disk B", justify="right")
    table.add_column("load's share of a core", justify="right")
    table.add_column("cores busy elsewhere", justify="right")
    for found in measured:
        last = found.runs[-1]
        if last.spent is None or not last.count:
            continue
        spent = last.spent
        cpu = {name: 1000 * seconds / last.count for name, seconds in spent.cpu_seconds.items()}
        wal, disk = (f"{size / last.count:,.0f}" for size in (spent.wal_bytes, spent.disk_bytes))
        table.add_row(
            found.name,
            ", ".join(f"{name} {seconds:.3f}" for name, seconds in cpu.items() if seconds >= _CPU_SHOWN_MIN),
            ", ".join(f"{name} {size:.0f}" for name, size in spent.memory_mib.items()),
            *((wal, disk) if found.makes_payments else ("", "")),
            "" if last.load is None else f"{last.load.core_share:.0%} ({last.load.program})",
            f"{spent.elsewhere_cores:.2f}",
        )
    return table


def _references(references: Sequence[Reference]) -> Table:
    table = Table(title="References, in the order in which they were measured")
    for name in (
        "T, pgbench transactions/s",
        "L, its mean latency in ms",
        "S, stock recorder's saves/s",
        "P, a loop in ms",
    ):
        table.add_column(name, justify="right")
    for reference in references:
        table.add_row(
            f"{reference.transactions:,.0f}",
            f"{reference.latency_ms:.2f}",
            f"{reference.saves:,.0f}",
            f"{reference.loop_ms:.1f}",
        )
    return table
