"""`payment-ledger audit replay`, `balance` and `trial-balance`: why the books are what they are."""

import sys
from datetime import datetime
from typing import Final

import click
from msgspec import UNSET
from msgspec.structs import asdict

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.events import print_event
from api.cli.integers import IDENTIFIER, POSITION
from api.cli.ledger_access import ledger_for
from api.cli.options import time_option_value
from api.cli.output import print_json
from api.cli.tables import escape, table, table_console
from api.operator.verification import read_balance, sum_up
from api.views.accounts import BalanceView
from api.views.stream_history import ReplayedEvent, replay_account, replay_payment
from api.views.trial_balance import TrialBalanceView


@click.command("replay")
@click.argument("subject", type=click.Choice(["payment", "account"]))
@click.argument("identifier", metavar="ID", type=IDENTIFIER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event a line.")
def replay_command(*, subject: str, identifier: int, as_json: bool) -> None:
    """Show a payment or an account event by event, with what it has come to by each: why it is what it is."""
    with ledger_for("audit") as (_, partitions):
        replay = replay_payment if subject == "payment" else replay_account
        for replayed in replay(partitions.of(identifier), identifier):
            if as_json:
                print_json(replayed)
            else:
                _print_replayed(replayed)


@click.command("balance")
@click.argument("account_id", metavar="ACCOUNT", type=IDENTIFIER)
@click.option("--at", metavar="TIME", callback=time_option_value, help="At a time, RFC 3339 with an offset.")
@click.option("--position", type=POSITION, help="At a position of the log.")
@as_json_option
def balance_command(*, account_id: int, at: datetime | None, position: int | None, as_json: bool) -> None:
    """Show what an account held at a time or at a position, from its events; without either, what it holds now."""
    if at is not None and position is not None:
        raise click.UsageError("--at and --position cannot be given together.")
    with ledger_for("audit") as (_, partitions):
        balance = read_balance(partitions.of(account_id), account_id, position=position, at=at)
    if as_json:
        print_json(balance)
    else:
        _print_balance(balance)


@click.command("trial-balance")
@as_json_option
def trial_balance_command(*, as_json: bool) -> None:
    """Sum up the journal. The exit code is 1 when the books do not balance."""
    with ledger_for("audit") as (_, partitions):
        books = sum_up(*(partition.database for partition in partitions))
    if as_json:
        print_json(books)
    else:
        print_trial_balance(books)
    sys.exit(0 if books.balanced else EXIT_UNHEALTHY)


def _print_replayed(replayed: ReplayedEvent) -> None:
    """Show an event of a replay, and what it came to."""
    console = table_console()
    print_event(console, replayed)
    after = {name: value for name, value in asdict(replayed.after).items() if value is not None}
    came_to = ", ".join(f"{name} {value}" for name, value in after.items())
    console.print(f"  [green]-> {escape(came_to)}", soft_wrap=True, highlight=False)


def _print_balance(balance: BalanceView) -> None:
    shown = table(*asdict(balance))
    shown.add_row(*(str(value) for value in asdict(balance).values()))
    table_console().print(shown)


_SUMS: Final = (
    *("entries", "customers", "gateway_clearing", "fee_revenue", "opening_equity", "suspense", "transit"),
    *("sum", "accounts"),
)
"""The sums of a currency, in the order of their columns."""


def print_trial_balance(books: TrialBalanceView) -> None:
    """Show the sums of the books by currency, and the clearing of each gateway; over all partitions if several."""
    console = table_console()
    shown = table("currency", *(name.replace("_", " ") for name in _SUMS))
    clearing = table("gateway", "currency", "clearing")
    for currency in books.currencies:
        shown.add_row(currency.currency, *(str(getattr(currency, name)) for name in _SUMS))
        for name, amount in currency.gateways.items():
            clearing.add_row(escape(name), currency.currency, str(amount))
    console.print(shown)
    if clearing.row_count:
        console.print(clearing)
    for stream in books.set_aside:
        console.print(f"[red]{stream} is set aside, so the sums lack its money; see `payment-ledger status`.")
    verdict = "[green]The books balance" if books.balanced else "[red]The books do not balance"
    if books.partitions is UNSET:
        console.print(f"{verdict}[/], up to position {books.position}.")
        return
    console.print(f"{verdict}[/].")
    for each in books.partitions:
        state = "" if each.balanced else " [red]does not balance[/]"
        console.print(f"Partition {each.partition}{state} up to position {each.position}.")
