"""How the command line shows tables to people."""

import os
import sys
from typing import Final

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from api.runtime.masking import escape_control_characters

UNFOLDED: Final = 10_000
"""A width in which every table has room."""


def table_console() -> Console:
    """Give the console for tables. Without a terminal no cell is folded, because a program searches the lines."""
    is_measured = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_measured else UNFOLDED)


def table(*columns: str) -> Table:
    """Make an empty table with these columns."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def escape(text: str) -> str:
    """Show the text of a client or a gateway as it is, without markup or control of the terminal."""
    return escape_markup(escape_control_characters(text))


def second(at: object) -> str:
    """Show a time to the second."""
    return str(at)[:19].replace("T", " ")
