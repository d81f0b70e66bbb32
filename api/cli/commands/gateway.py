"""`payment-ledger gateway ...`: whether the gateway is called, and an operator's pause of it.

Without a command it serves the demo gateway, as it did before it had any.
"""

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option, fail, until_eof_option
from api.cli.lazy_group import Entry
from api.cli.ledger_access import ledger_for
from api.cli.options import decision_text
from api.cli.output import print_json
from api.cli.tables import escape, table_console
from api.operator.each_partition import PartitionResults, of_each
from api.settings import SEED_MAX
from api.views.gateway import GatewayView, MarkView, gateway_view
from ledger.domain.events import GatewayChange
from ledger.operation.gateway import change_gateway, read_standing
from ledger.partition.partition import Partition
from ledger.recovery.noted_head import NotedHeads
from ledger.recovery.recover import recover_if_behind

_SERVING = Entry("gateway", "api.cli.commands.service:gateway_command", "Serve the demo gateway alone.")

_why = click.option("--why", required=True, callback=decision_text, help="The reason, for the log.")
_by = click.option("--by", required=True, callback=decision_text, help="The name of the operator.")


@click.group("gateway", invoke_without_command=True)
@until_eof_option
@click.option(
    "--chaos", type=click.IntRange(0, SEED_MAX), metavar="SEED", help="Serve the chaos gateway, by this seed."
)
@click.pass_context
def gateway_group(context: click.Context, *, until_eof: bool, chaos: int | None) -> None:
    """Serve the demo gateway alone; or pause and resume the calls of the gateway, whichever it is."""
    if context.invoked_subcommand is None:
        words = [*(["--until-eof"] if until_eof else []), *([] if chaos is None else ["--chaos", str(chaos)])]
        _SERVING.load().main(words, prog_name="payment-ledger gateway", standalone_mode=False, parent=context)


@gateway_group.command("pause")
@_why
@_by
@as_json_option
def pause_command(*, why: str, by: str, as_json: bool) -> None:
    """Call the gateway no more until it is resumed. Payments are accepted and wait."""
    _change("paused", why=why, by=by, as_json=as_json)


@gateway_group.command("resume")
@_why
@_by
@as_json_option
def resume_command(*, why: str, by: str, as_json: bool) -> None:
    """Call a paused gateway again."""
    _change("resumed", why=why, by=by, as_json=as_json)


@gateway_group.command("status")
@as_json_option
def status_command(*, as_json: bool) -> None:
    """Show whether the gateway is called, and since when and why it is not."""
    with ledger_for("gateway", even_if_away=True) as (_, partitions):
        seen = of_each(partitions, _standing, together=True) if len(partitions) > 1 else _standing(partitions.first)
    _show(seen, as_json=as_json)


def _standing(partition: Partition) -> GatewayView:
    with partition.database.connect(application="payment-ledger gateway") as connection:
        return gateway_view(read_standing(connection))


def _change(change: GatewayChange, *, why: str, by: str, as_json: bool) -> None:
    with ledger_for("gateway", even_if_away=True) as (settings, partitions):

        def changed(partition: Partition) -> GatewayView:
            # The change looks at the server only, and this machine may have noted a head that the store lacks.
            recover_if_behind(partition.database, NotedHeads(settings.noted_heads_folder))
            return gateway_view(change_gateway(partition.database, change, why=why, by=by))

        seen = of_each(partitions, changed, together=True) if len(partitions) > 1 else changed(partitions.first)
    _show(seen, as_json=as_json)


def _show(seen: GatewayView | PartitionResults[GatewayView], *, as_json: bool) -> None:
    """Show the state, of each partition where there are several. The exit code is 1 when one was not reached."""
    if as_json:
        print_json(seen)
    elif isinstance(seen, GatewayView):
        table_console().print(_words(seen))
    else:
        for each in seen.partitions:
            words = f"[red]Not reached:[/] {escape(each.error or '')}" if each.result is None else _words(each.result)
            table_console().print(f"Partition {each.partition}: {words}")
    if isinstance(seen, PartitionResults) and not seen.ok:
        failed = ", ".join(str(each.partition) for each in seen.failed)
        fail(f"Not all partitions were reached, and these are as they were: {failed}.", EXIT_UNHEALTHY)


def _words(seen: GatewayView) -> str:
    match seen.state:
        case "paused":
            return f"The gateway is paused {_marked(seen.paused)}."
        case "open":
            return f"The gateway's breaker is open {_marked(seen.open)}. The next probe is at {seen.probe_at}."
        case "held":
            return f"The gateway is not called until {seen.held_until}."
        case "closed":
            return "The gateway is called."


def _marked(mark: MarkView | None) -> str:
    assert mark is not None, "the state says that there is one"
    by = "" if mark.by is None else f" by {mark.by}"
    return escape(f"since {mark.since}{by}: {mark.why}")
