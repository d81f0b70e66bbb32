"""What the command line shows to people: tables, and what is wrong in red."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from api.dead_letters import DeadLetterView
from api.logs import harmless
from api.operations import LetterHistory, StatusView
from api.payments import EventView
from api.readiness import FRESH
from api.replay import ReplayedEvent
from api.times import Timestamp
from api.trial_balance import TrialBalanceView
from api.users import BalanceView
from ledger.audit_findings import AuditReport
from ledger.audit_import import Imported
from ledger.take_over import TakenOver
from projections.rebuild import Rebuilding


def print_status(seen: StatusView) -> None:
    """Show how the service is."""
    console = Console()
    pulse = seen.pulse
    parts = _table("part", "instance", "last heartbeat")
    for part in pulse.parts:
        alive = part.seen_seconds_ago < FRESH.total_seconds()
        parts.add_row(part.part, part.instance, f"{'' if alive else '[red]'}{part.seen_seconds_ago:.1f} s ago")
    models = _table("read models", "position", "behind", "stopped")
    for model in pulse.read_models:
        stopped = "" if model.stopped_at_position is None else f"[red]at {model.stopped_at_position}"
        models.add_row(model.name, str(model.position), str(model.lag), stopped)
    queue = _table("gateway queue", "")
    queue.add_row("waiting", str(pulse.gateway_queue.waiting))
    queue.add_row("first is due since", f"{pulse.gateway_queue.oldest_due_seconds:.1f} s")
    letters = _table("dead letters", "")
    for state, count in pulse.dead_letters.items():
        letters.add_row(state, str(count))
    console.print(f"The log's last position is {pulse.position}.", parts, models, queue, letters, sep="\n")
    for sentence in seen.wrong:
        console.print(f"[red]{escape(sentence)}")


def print_letters(letters: Sequence[DeadLetterView]) -> None:
    """Show dead letters."""
    if not letters:
        Console().print("No dead letters.")
        return
    table = _table("payment", "user", "type", "amount", "fee", "state", "error", "attempts", "since")
    for letter in letters:
        table.add_row(*_cells(letter))
    Console().print(table)


def print_history(shown: LetterHistory) -> None:
    """Show a payment's history."""
    if shown.letter is None:
        Console().print("No dead letter: nobody has to decide about this payment.")
    else:
        print_letters([shown.letter])
    for event in shown.events:
        _print_event(Console(), event)


def print_rebuilding(rebuilt: Rebuilding) -> None:
    """Show what a rebuild did, and where the live read models differed."""
    console = Console()
    table = _table("table", "differing", "missing", "surplus")
    for difference in rebuilt.differences:
        counts = (difference.differing, difference.missing, difference.surplus)
        table.add_row(difference.table, *(f"{'[red]' if count else ''}{count}" for count in counts))
    console.print(table)
    for difference in rebuilt.differences:
        for example in difference.examples:
            console.print(f"{difference.table}: live {example.live}, rebuilt {example.rebuilt}", markup=False)
    done = "swapped in" if rebuilt.swapped else "compared; nothing was changed"
    console.print(f"Read models of position {rebuilt.position}, {done}.")


def print_audit(report: AuditReport) -> None:
    """Show what an audit found."""
    console = Console()
    for error in report.errors:
        console.print(f"[red]position {error.position}[/]: {escape(error.what)}", soft_wrap=True)
    verdict = "[green]All is as it has to be"
    if report.errors:
        verdict = f"[red]Not all is as it has to be, first at position {report.errors[0].position}"
    console.print(f"{verdict}[/]: {report.events} events up to position {report.position}.")
    console.print(f"digest {report.digest}", soft_wrap=True)


def print_replayed(replayed: ReplayedEvent) -> None:
    """Show an event of a replay, and what it came to."""
    console = Console()
    _print_event(console, replayed)
    after = {name: value for name, value in asdict(replayed.after).items() if value is not None}
    came_to = ", ".join(f"{name} {value}" for name, value in after.items())
    console.print(f"  [green]-> {escape(came_to)}", soft_wrap=True, highlight=False)


def print_balance(balance: BalanceView) -> None:
    """Show what an account held."""
    table = _table(*asdict(balance))
    table.add_row(*(str(value) for value in asdict(balance).values()))
    Console().print(table)


def print_trial_balance(books: TrialBalanceView) -> None:
    """Show the books."""
    console = Console()
    names = ("entries", "customers", "gateway_clearing", "fee_revenue", "opening_equity", "sum", "accounts")
    table = _table("currency", *(name.replace("_", " ") for name in names))
    for currency in books.currencies:
        table.add_row(currency.currency, *(str(getattr(currency, name)) for name in names))
    console.print(table)
    verdict = "[green]The books balance" if books.balanced else "[red]The books do not balance"
    console.print(f"{verdict}[/], up to position {books.position}.")


def print_import(imported: Imported | None, taken_over: TakenOver | None) -> None:
    """Show what an import, a take-over or both have done."""
    console = Console()
    if imported is not None:
        console.print(f"Imported {imported.events} events of ledger {imported.ledger_id}.", soft_wrap=True)
        console.print(f"digest {imported.digest}", soft_wrap=True)
    if taken_over is not None:
        console.print(f"This store is in charge now; {taken_over.open_payments} payments go on to the gateway.")
    else:
        console.print("This store is a copy: it takes no payments before `payment-ledger audit import --take-over`.")


def _print_event(console: Console, event: EventView) -> None:
    by = f" by {event.by}" if event.by else ""
    line = f"\n[bold]{event.topic}[/] at {_second(event.at)}, position {event.position}{escape(by)}"
    console.print(line, soft_wrap=True)
    for name, value in event.data.items():
        if value is not None:
            console.print(f"  {name}: {harmless(str(value))}", markup=False, soft_wrap=True)


def _cells(letter: DeadLetterView) -> list[str]:
    facts: list[Any] = [letter.payment_id, letter.user_id, letter.payment_type, f"{letter.amount} {letter.currency}"]
    facts += [letter.commission, letter.state, letter.error, letter.attempts, _second(letter.created_at)]
    return [escape(str(fact)) for fact in facts]


def escape(text: str) -> str:
    """Show a text as it is: what a client or a gateway has written is no markup, and does not rule the terminal."""
    return escape_markup(harmless(text))


def _second(at: Timestamp) -> str:
    return str(at)[:19].replace("T", " ")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
