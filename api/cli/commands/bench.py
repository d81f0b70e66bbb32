"""`payment-ledger bench`: hands over to the benchmark of the checkout."""

import os
import sys

import click

from api.cli.command import EXIT_USAGE, fail
from api.settings import CHECKOUT


@click.command(
    "bench", add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def bench_command(words: tuple[str, ...]) -> None:
    """Measure how fast the ledger is on this machine; --help lists the options. Needs a checkout."""
    if not (CHECKOUT / "tests" / "benchmarks" / "__main__.py").exists():
        fail(
            "The benchmark comes with the source and not with the installed package: run `make bench` there.",
            EXIT_USAGE,
        )
    # Measure this checkout. File names count from the directory in which the command was given.
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.benchmarks", *words], environment)  # noqa: S606
