"""`payment-ledger dlq list` and `show`: dead letters, and all that has happened to a payment."""

from collections.abc import Sequence
from typing import Any, get_args

import click

from api.cli.command import as_json_option
from api.cli.events import print_event
from api.cli.integers import IDENTIFIER, LIMIT, OFFSET
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.cli.tables import escape, second, table, table_console
from api.http.cursors import LIMIT_DEFAULT
from api.operator.dead_letters import LetterHistory, list_letters_of_all, show_letter
from api.views.dead_letters import DeadLetterView
from ledger.domain.payment import LetterState


@click.command("list")
@click.option("--state", type=click.Choice(get_args(LetterState)), help="Only letters of this state.")
@click.option("--limit", type=LIMIT, default=LIMIT_DEFAULT, show_default=True)
@click.option("--offset", type=OFFSET, default=0, help="How many letters to skip.")
@as_json_option
def list_command(*, state: LetterState | None, limit: int, offset: int, as_json: bool) -> None:
    """List dead letters, newest first; those of several partitions by the time since when they are so."""
    with ledger_for("dlq") as (_, partitions):
        letters = list_letters_of_all(partitions, state=state, limit=limit, offset=offset)
    if as_json:
        print_json(letters)
    else:
        print_letters(letters)


_payment_id = click.argument("payment_id", type=IDENTIFIER)


@click.command("show")
@_payment_id
@as_json_option
def show_command(payment_id: int, *, as_json: bool) -> None:
    """Show all that has happened to a payment."""
    with ledger_for("dlq") as (_, partitions):
        shown = show_letter(partitions.of(payment_id), payment_id)
    if as_json:
        print_json(shown)
    else:
        print_history(shown)


def print_letters(letters: Sequence[DeadLetterView]) -> None:
    """Show dead letters."""
    if not letters:
        table_console().print("No dead letters.")
        return
    shown = table("payment", "user", "type", "amount", "fee", "state", "error", "attempts", "since")
    for letter in letters:
        shown.add_row(*_cells(letter))
    table_console().print(shown)


def print_history(shown: LetterHistory) -> None:
    """Show a payment's history."""
    if shown.letter is None:
        table_console().print("No dead letter: nobody has to decide about this payment.")
    else:
        print_letters([shown.letter])
    for event in shown.events:
        print_event(table_console(), event)


def _cells(letter: DeadLetterView) -> list[str]:
    facts: list[Any] = [letter.payment_id, letter.user_id, letter.payment_type, f"{letter.amount} {letter.currency}"]
    facts += [letter.commission, letter.state, letter.error, letter.attempts, second(letter.created_at)]
    return [escape(str(fact)) for fact in facts]
