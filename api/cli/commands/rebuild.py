"""`payment-ledger rebuild`: the read models made again from the log."""

import sys

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option, every_partition_option
from api.cli.ledger_access import chosen, ledger_for
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.cli.tables import table, table_console
from api.operator.each_partition import PartitionResults, of_each
from ledger.partition.partition import Partition
from projections.engine.rebuild import Rebuilding, rebuild


@click.command("rebuild")
@click.option("--check-only", is_flag=True, help="Compare the read models with the log, and change nothing.")
@every_partition_option
@as_json_option
def rebuild_command(*, check_only: bool, number: int | None, as_json: bool) -> None:
    """Make the read models again from the log, beside the live ones, and swap them in.

    Without --partition, those of all partitions are made, one after the other.
    """
    with ledger_for("rebuild") as (_, partitions), progress_shown() as progress:
        if number is None and len(partitions) > 1:

            def made(partition: Partition) -> Rebuilding:
                of_partition = f"partition {partition.number}: "
                return rebuild(
                    partition.database,
                    check_only=check_only,
                    progress=lambda stage, *done: progress(of_partition + stage, *done),
                )

            every = of_each(partitions, made)
            ok = every.ok and all(_is_clean(each.result) for each in every.partitions if each.result is not None)
            shown: Rebuilding | PartitionResults[Rebuilding] = every
        else:
            partition = chosen(partitions, number)
            shown = rebuild(partition.database, check_only=check_only, progress=progress)
            ok = _is_clean(shown)
    if as_json:
        print_json(shown)
    elif isinstance(shown, Rebuilding):
        _print_rebuilding(shown)
    else:
        _print_each(shown)
    sys.exit(0 if ok else EXIT_UNHEALTHY)


def _is_clean(rebuilt: Rebuilding) -> bool:
    return rebuilt.clean and not rebuilt.set_aside


def _print_each(every: PartitionResults[Rebuilding]) -> None:
    for each in every.partitions:
        click.echo(f"Partition {each.partition}")
        if each.result is None:
            click.echo(f"It could not be done: {each.error}", err=True)
        else:
            _print_rebuilding(each.result)


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
