"""`payment-ledger status`: how the whole service is."""

import sys

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.cli.tables import escape, table, table_console
from api.operator.status import StatusView, read_status
from ledger.store.heartbeats import FRESH


@click.command("status")
@as_json_option
def status_command(*, as_json: bool) -> None:
    """Show how the whole service is. The exit code is 1 when something needs an operator."""
    with ledger_for("status") as (settings, partitions):
        seen = read_status(partitions.only.database, settings)
    if as_json:
        print_json(seen)
    else:
        print_status(seen)
    sys.exit(0 if seen.ok else EXIT_UNHEALTHY)


def print_status(seen: StatusView) -> None:
    """Show how the service is."""
    console = table_console()
    report = seen.report
    parts = table("part", "instance", "last heartbeat")
    for part in report.parts:
        alive = part.seen_seconds_ago < FRESH.total_seconds()
        parts.add_row(part.part, part.instance, f"{'' if alive else '[red]'}{part.seen_seconds_ago:.1f} s ago")
    models = table("read models", "position", "behind", "stopped")
    for model in report.read_models:
        stopped = "" if model.stopped_at_position is None else f"[red]at {model.stopped_at_position}"
        models.add_row(model.name, str(model.position), str(model.lag), stopped)
    queue = table("gateway queue", "")
    queue.add_row("waiting", str(report.gateway_queue.waiting))
    queue.add_row("first is due since", f"{report.gateway_queue.oldest_due_seconds:.1f} s")
    letters = table("dead letters", "")
    for state, count in report.dead_letters.items():
        letters.add_row(state, str(count))
    console.print(f"The log's last position is {report.position}.", parts, models, queue, letters, sep="\n")
    for sentence in seen.wrong:
        console.print(f"[red]{escape(sentence)}")
