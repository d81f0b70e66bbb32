"""How the command line shows an event of the log to people."""

from rich.console import Console

from api.cli.tables import escape, second
from api.runtime.masking import escape_control_characters
from api.views.payments import EventView


def print_event(console: Console, event: EventView) -> None:
    """Show an event with its facts, one a line."""
    by = f" by {event.by}" if event.by else ""
    by += f" ({event.operator})" if event.operator else ""
    line = f"\n[bold]{event.topic}[/] at {second(event.at)}, position {event.position}{escape(by)}"
    console.print(line, soft_wrap=True)
    for name, value in event.data.items():
        if value is not None:
            console.print(f"  {name}: {escape_control_characters(str(value))}", markup=False, soft_wrap=True)
