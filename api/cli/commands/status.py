"""`payment-ledger status`: how the whole service is."""

import sys

import click
from rich.console import Console

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.cli.tables import escape, table, table_console
from api.operator.status import LedgerStatusView, StatusView, read_status, read_status_of_all
from api.queries.service_status import StatusReport
from ledger.store.heartbeats import FRESH


@click.command("status")
@as_json_option
def status_command(*, as_json: bool) -> None:
    """Show how the whole service is. The exit code is 1 when something needs an operator."""
    with ledger_for("status", even_if_away=True) as (settings, partitions):
        if len(partitions) == 1:
            seen: StatusView | LedgerStatusView = read_status(partitions.first.database, settings)
        else:
            seen = read_status_of_all(partitions, settings)
    if as_json:
        print_json(seen)
    else:
        print_status(seen)
    sys.exit(0 if seen.ok else EXIT_UNHEALTHY)


def print_status(seen: StatusView | LedgerStatusView) -> None:
    """Show how the service is, partition by partition where there are several."""
    console = table_console()
    if isinstance(seen, StatusView):
        _print_report(console, seen.report)
    else:
        for each in seen.partitions:
            console.print(f"[bold]Partition {each.partition}[/]")
            if each.report is None:
                console.print("[red]Its database gives no report.")
            else:
                _print_report(console, each.report)
            console.print()
    for sentence in seen.wrong:
        console.print(f"[red]{escape(sentence)}")


def _print_report(console: Console, report: StatusReport) -> None:
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
