"""`payment-ledger dlq plan` and `run`: many letters at once, by the digest of a list that an operator has read."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import get_args

import click
from msgspec import UNSET
from rich.console import Console

from api.cli.command import EXIT_UNHEALTHY, as_json_option, partition_option
from api.cli.integers import IDENTIFIER
from api.cli.ledger_access import chosen
from api.cli.letters.deciding_parts import with_parts
from api.cli.letters.decision_options import by_option, key_file_option, why_option
from api.cli.options import time_option_value
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.cli.tables import escape, table, table_console
from api.decisions.answers import BulkPlanView, BulkReportView, MoneyView, plan_view, report_view
from api.decisions.approvals import Approval
from api.decisions.approving import run_or_ask
from api.decisions.bulk import BulkReport, Sender, make_plan
from api.decisions.bulk_plan import LETTERS_MAX, BulkAction, BulkDecision, BulkPlan, LetterFilter
from api.decisions.parts import DecidingParts
from ledger.command_ids import new_command_id
from ledger.domain.events import Resolution
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import LetterState
from ledger.partition.partition import Partition, Partitions

SHOWN_MAX = 20
"""How many letters of a list are shown to people; --json has all."""


@click.command("plan")
@click.argument("action", type=click.Choice(get_args(BulkAction)))
@click.option("--outcome", type=click.Choice(get_args(Resolution)), help="For resolve: what became of the payments.")
@click.option("--force", is_flag=True, help="For resolve: go against clear answers of the gateway; recorded so.")
@click.option("--state", type=click.Choice(get_args(LetterState)), help="Only letters of this state.")
@click.option("--error", help="Only letters with exactly this error.")
@click.option("--since", callback=time_option_value, metavar="TIME", help="Only letters from this time on.")
@click.option("--user", "user_id", type=IDENTIFIER, help="Only letters of this user.")
@click.option("--type", "kind", type=click.Choice(get_args(PaymentKind)), help="Only payments of this kind.")
@click.option("--currency", help="Only payments in this currency.")
@click.option("--limit", type=click.IntRange(1, LETTERS_MAX), default=LETTERS_MAX, show_default=True)
@partition_option
@as_json_option
def plan_command(  # noqa: PLR0913 - one for each option
    action: BulkAction,
    *,
    outcome: Resolution | None,
    force: bool,
    state: LetterState | None,
    error: str | None,
    since: datetime | None,
    user_id: int | None,
    kind: PaymentKind | None,
    currency: str | None,
    limit: int,
    number: int | None,
    as_json: bool,
) -> None:
    """List what a decision about many letters would do, and do nothing.

    It takes the oldest letters first, and prints the digest with which `run` carries the list out. A list is of one
    partition; `--user` says which, too.
    """
    if (outcome is None) == (action == "resolve") or (force and action != "resolve"):
        raise click.UsageError("--outcome belongs to resolve, which needs it; --force belongs to resolve, too.")
    chosen = LetterFilter(state=state, error=error, since=since, user_id=user_id, kind=kind, currency=currency)

    with progress_shown() as progress:

        async def plan(parts: DecidingParts, _: dict[str, str | None]) -> tuple[BulkPlan, bool]:
            decision = BulkDecision(action=action, outcome=outcome, force=force)
            return await make_plan(parts, decision, chosen, limit=limit, on_progress=progress)

        listed, more = with_parts(plan, of=_of(number, user_id), by="plan", key_file=None)
    view = plan_view(listed, more=more)
    if as_json:
        print_json(view)
    else:
        _print_plan(view)


@click.command("run")
@click.argument("digest")
@why_option
@by_option
@key_file_option
@partition_option
@as_json_option
def run_command(digest: str, *, why: str, by: str, key_file: Path | None, number: int | None, as_json: bool) -> None:
    """Carry out a list by its digest.

    If the letters have changed since, nothing is done. A run that was cut off is given again: it does the rest, and
    nothing twice.
    """
    with progress_shown() as progress:

        async def run(parts: DecidingParts, sender: dict[str, str | None]) -> BulkReport | Approval:
            words = Sender(why=why, by=sender["by"], operator=sender["operator"], command_id=new_command_id())
            return await run_or_ask(parts, digest, words, on_progress=progress)

        report = with_parts(run, of=_of(number), by=by, key_file=key_file)
    view = report_view(report, digest=digest)
    if as_json:
        print_json(view)
    else:
        _print_report(view)
    sys.exit(0 if view.as_planned or isinstance(report, Approval) else EXIT_UNHEALTHY)


def _of(number: int | None, user_id: int | None = None) -> Callable[[Partitions], Partition]:
    """Choose the partition of a list: that of the user whose letters it has, else the one that is named."""

    def of(partitions: Partitions) -> Partition:
        if user_id is None:
            return chosen(partitions, number)
        of_user = partitions.of(user_id)
        if number not in {None, of_user.number}:
            raise click.UsageError(f"User {user_id} is in partition {of_user.number}.")
        return of_user

    return of


def _print_plan(view: BulkPlanView) -> None:
    shown = table("payment", "user", "type", "amount", "state", "error", "becomes", "gateway key")
    for letter in view.items[:SHOWN_MAX]:
        becomes = letter.becomes if letter.refused is None else f"refused: {letter.refused}"
        facts = (letter.payment_id, letter.user_id, letter.payment_type, f"{letter.amount} {letter.currency}")
        shown.add_row(
            *[escape(str(cell)) for cell in (*facts, letter.state, letter.error, becomes, letter.gateway_key)]
        )
    table_console().print(shown)
    console = Console()
    if view.letters > SHOWN_MAX:
        console.print(f"... and {view.letters - SHOWN_MAX} more; --json shows all.")
    forced = sum(1 for letter in view.items if letter.forced is True)
    console.print(f"{view.going} of {view.letters} letters: {_money(view.money)}.", soft_wrap=True)
    if forced:
        console.print(f"{forced} of them against the gateway.")
    for code, count in view.refused.items():
        console.print(f"{count} would be refused: {code}.")
    if view.more:
        console.print("More letters match; list them after this run.")
    console.print(f"digest {view.digest}", soft_wrap=True, highlight=False)


def _print_report(view: BulkReportView) -> None:
    if view.approval_id is not UNSET:
        click.echo(f"Nothing is done yet: another key has to approve request {view.approval_id}.")
        return
    click.echo(f"{view.done} letters done: {_money(view.money)}. {view.refused} refused.")
    if not view.as_planned:
        click.echo("Not all came out as the list says; --json shows each letter.")


def _money(money: list[MoneyView]) -> str:
    words = [f"{each.coming_in} {each.currency} in and {each.going_out} {each.currency} out" for each in money]
    return ", ".join(words) or "no money"
