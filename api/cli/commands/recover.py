"""`payment-ledger recover`: tells a restored store that it may have forgotten what the gateway and the clients know."""

import sys

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option, every_partition_option
from api.cli.ledger_access import chosen, ledger_for
from api.cli.options import KEYS_ARE_OLD, decision_text, skip_option
from api.cli.output import print_json
from api.operator.each_partition import PartitionResults, of_each
from ledger.partition.partition import Partition
from ledger.recovery.noted_head import NotedHeads
from ledger.recovery.recover import Recovery, recover


@click.command("recover")
@click.option(
    "--why",
    default="an operator asked for it",
    show_default=True,
    callback=decision_text,
    help="What happened, for the log.",
)
@skip_option
@every_partition_option
@as_json_option
def recover_command(*, why: str, skip: int | None, number: int | None, as_json: bool) -> None:
    """Count every open call as begun, and give no number that may have been given before.

    For a store that was restored, or that lost commits. The service does it by itself when it finds its store on
    another server or timeline, or without a head that was noted on this machine. Nothing tells it of a plain copy of
    the files that was restored elsewhere. Without --partition, all partitions are recovered, one after the other.
    """
    with ledger_for("recover") as (settings, partitions):

        def recovered(partition: Partition) -> Recovery:
            noted_heads = NotedHeads(settings.noted_heads_folder)
            return recover(partition.database, why=why, skip=skip, noted_heads=noted_heads)

        if number is None and len(partitions) > 1:
            done: Recovery | PartitionResults[Recovery] = of_each(partitions, recovered)
        else:
            done = recovered(chosen(partitions, number))
    if as_json:
        print_json(done)
    elif isinstance(done, Recovery):
        _print(done)
    else:
        _print_each(done)
    sys.exit(EXIT_UNHEALTHY if isinstance(done, PartitionResults) and not done.ok else 0)


def _print_each(done: PartitionResults[Recovery]) -> None:
    for each in done.partitions:
        click.echo(f"Partition {each.partition}")
        if each.result is None:
            click.echo(f"It could not be recovered: {each.error}", err=True)
        else:
            _print(each.result)


def _print(done: Recovery) -> None:
    click.echo(f"{done.calls} open calls count as begun; {done.skipped} numbers are left out.")
    click.echo(f"The recovery is at position {done.position} of the log.")
    click.echo(KEYS_ARE_OLD)
