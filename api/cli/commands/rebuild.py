"""`payment-ledger rebuild`: the read models made again from the log."""

import sys

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.cli.tables import table, table_console
from projections.engine.rebuild import Rebuilding, rebuild


@click.command("rebuild")
@click.option("--check-only", is_flag=True, help="Compare the read models with the log, and change nothing.")
@as_json_option
def rebuild_command(*, check_only: bool, as_json: bool) -> None:
    """Make the read models again from the log, beside the live ones, and swap them in."""
    with ledger_for("rebuild") as (_, partitions), progress_shown() as progress:
        rebuilt = rebuild(partitions.only.database, check_only=check_only, progress=progress)
    if as_json:
        print_json(rebuilt)
    else:
        _print_rebuilding(rebuilt)
    sys.exit(0 if rebuilt.clean and not rebuilt.set_aside else EXIT_UNHEALTHY)


def _print_rebuilding(rebuilt: Rebuilding) -> None:
    """Show what a rebuild did, and where the live read models differed."""
    console = table_console()
    shown = table("table", "differing", "missing", "surplus")
    for difference in rebuilt.differences:
        counts = (difference.differing, difference.missing, difference.surplus)
        shown.add_row(difference.table, *(f"{'[red]' if count else ''}{count}" for count in counts))
    console.print(shown)
    for aside in rebuilt.set_aside:
        what = f"{aside.stream} is set aside by {aside.name} at position {aside.position}: {aside.because}"
        console.print(what, markup=False, soft_wrap=True)
    for difference in rebuilt.differences:
        for example in difference.examples:
            console.print(f"{difference.table}: live {example.live}, rebuilt {example.rebuilt}", markup=False)
    done = "swapped in" if rebuilt.swapped else "compared; nothing was changed"
    console.print(f"Read models of position {rebuilt.position}, {done}.")
