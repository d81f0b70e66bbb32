"""`payment-ledger recover`: tells a restored store that it may have forgotten what the gateway and the clients know."""

import click

from api.cli.command import as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.options import KEYS_ARE_OLD, decision_text, skip_option
from api.cli.output import print_json
from ledger.recovery.noted_head import NotedHeads
from ledger.recovery.recover import recover


@click.command("recover")
@click.option(
    "--why",
    default="an operator asked for it",
    show_default=True,
    callback=decision_text,
    help="What happened, for the log.",
)
@skip_option
@as_json_option
def recover_command(*, why: str, skip: int | None, as_json: bool) -> None:
    """Count every open call as begun, and give no number that may have been given before.

    For a store that was restored, or that lost commits. The service does it by itself when it finds its store on
    another server or timeline, or without a head that was noted on this machine. Nothing tells it of a plain copy of
    the files that was restored elsewhere.
    """
    with ledger_for("recover") as (settings, partitions):
        noted_heads = NotedHeads(settings.noted_heads_folder)
        done = recover(partitions.only.database, why=why, skip=skip, noted_heads=noted_heads)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.calls} open calls count as begun; {done.skipped} numbers are left out.")
        click.echo(f"The recovery is at position {done.position} of the log.")
        click.echo(KEYS_ARE_OLD)
