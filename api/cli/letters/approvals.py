"""`payment-ledger dlq approvals`, `approve` and `reject`: decisions that need a second key."""

import sys
from pathlib import Path

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.integers import LIMIT, OFFSET
from api.cli.ledger_access import ledger_for
from api.cli.letters.deciding_parts import the_only, with_parts
from api.cli.letters.decision_options import by_option, key_file_option
from api.cli.letters.standing import request_words
from api.cli.output import print_json
from api.cli.tables import escape, second, table, table_console
from api.decisions.answers import ApprovalView, approval_view
from api.decisions.approvals import Approval, list_approvals
from api.decisions.approving import approve, reject
from api.decisions.parts import DecidingParts
from api.http.cursors import LIMIT_DEFAULT

_approval_id = click.argument("approval_id")


@click.command("approvals")
@click.option("--limit", type=LIMIT, default=LIMIT_DEFAULT, show_default=True)
@click.option("--offset", type=OFFSET, default=0, help="How many requests to skip.")
@as_json_option
def list_command(*, limit: int, offset: int, as_json: bool) -> None:
    """List the decisions that need a second key, newest first, with what became of them."""
    with ledger_for("dlq") as (_, partitions):
        database = the_only(partitions).database
        found = [approval_view(each) for each in list_approvals(database, limit=limit, offset=offset)]
    if as_json:
        print_json(found)
        return
    shown = table("id", "action", "about", "asked by", "why", "expires", "state", "decided by", "result")
    for each in found:
        about = each.digest[:16] if each.digest is not None else each.payment_id
        decided = each.decided_by or ""
        asked = (each.id, each.action, about, f"{each.requested_by} ({each.operator})", each.why)
        became = (second(each.expires_at), each.state, decided, each.result or "")
        shown.add_row(*[escape(str(cell)) for cell in (*asked, *became)])
    table_console().print(shown)


@click.command("approve")
@_approval_id
@by_option
@key_file_option
@as_json_option
def approve_command(approval_id: str, *, by: str, key_file: Path | None, as_json: bool) -> None:
    """Approve a decision of another key, and carry it out, once."""

    async def run(parts: DecidingParts, sender: dict[str, str | None]) -> Approval:
        return await approve(parts, approval_id, by=_proved(sender), operator=by)

    _show(approval_view(with_parts(run, of=the_only, by=by, key_file=key_file)), as_json=as_json, wanted="done")


@click.command("reject")
@_approval_id
@by_option
@key_file_option
@as_json_option
def reject_command(approval_id: str, *, by: str, key_file: Path | None, as_json: bool) -> None:
    """Reject a decision that waits, or take your own back. It is never carried out."""

    async def run(parts: DecidingParts, sender: dict[str, str | None]) -> Approval:
        return await reject(parts, approval_id, by=_proved(sender), operator=by)

    _show(approval_view(with_parts(run, of=the_only, by=by, key_file=key_file)), as_json=as_json, wanted="rejected")


def _proved(sender: dict[str, str | None]) -> str | None:
    """Return the sender if a key proves it."""
    return None if sender["operator"] is None else sender["by"]


def _show(seen: ApprovalView, *, as_json: bool, wanted: str) -> None:
    if as_json:
        print_json(seen)
    else:
        click.echo(request_words(seen))
    sys.exit(0 if seen.state == wanted else EXIT_UNHEALTHY)
