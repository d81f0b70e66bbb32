"""Groups of commands that load a command's module when the command is called, and no other.

A group is a table of entries. `--help` of a group shows the entries' summaries, so it loads nothing either. A command's
module imports what it needs at its top, like any other module.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.exceptions import Exit, NoSuchCommand

from api.cli.command import fail


@dataclass(frozen=True)
class Entry:
    """A command of a group: its name, where it stands (`module:attribute`), and one sentence on what it does.

    `stops_cleanly` says that an interrupt ends the command with exit code 0, also while its module is being loaded.
    """

    name: str
    target: str
    summary: str
    stops_cleanly: bool = False

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), self.target
        return command


class LazyGroup(click.Group):
    """A group that knows its commands by a table, and answers what they raise with a sentence and an exit code."""

    def __init__(self, *args: Any, entries: Sequence[Entry], **kwargs: Any) -> None:  # noqa: ANN401 - as click has it
        super().__init__(*args, **kwargs)
        self.entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """Name the commands in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None when there is none of that name. Raises NoSuchCommand, which names similar ones."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            if cmd_name[:1].isalnum():
                raise NoSuchCommand(cmd_name, possibilities=self.entries, ctx=ctx)
            return None  # click treats it as an option in the wrong place
        try:
            return entry.load()
        except KeyboardInterrupt:
            if entry.stops_cleanly:
                sys.exit(0)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the list of commands for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.summary) for entry in self.entries.values()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, Exit):
            raise
        except Exception as error:
            answer = import_module("api.cli.failures").answer_to(error)
            if answer is None:
                raise
            fail(*answer)
