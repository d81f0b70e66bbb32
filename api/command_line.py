"""What all commands of `payment-ledger` share: exit codes, settings, the ledger they work on, and how they answer.

The commands themselves stand in `cli` and `audit_cli`. What is needed by some is imported when it is used, because
health checks start this program every few seconds.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import msgspec
import psycopg
import psycopg.errors

from api.embedded_postgres import NoDataDirectory
from api.ports import CannotListen
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.settings import Settings, SettingsError, find_dotenv

UNWELL: Final = 1
WRONG: Final = 2

_COMMAND_WAIT_SECONDS: Final = 3.0

_json = msgspec.json.Encoder(decimal_format="number")


class Commands(click.Group):
    """A group that answers what its commands raise with a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (SettingsError, NoDataDirectory) as error:
            fail(str(error), WRONG)
        except (LedgerError, CannotListen) as error:
            fail(str(error), UNWELL)
        except psycopg.OperationalError as error:
            fail(f"The database cannot be reached, or was lost: {error}", UNWELL)
        except psycopg.errors.InsufficientPrivilege as error:
            fail(f"This is for the schema's owner, whom DATABASE_URL has to name: {error}", UNWELL)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def settings_for(command: str) -> Settings:
    """Read the settings. Raises SettingsError."""
    return Settings.load(os.environ, dotenv=find_dotenv(Path.cwd()), command=command)


def log_as(part: str, level: str) -> None:
    """Write the log as a part of the service, from a level on."""
    from api.logs import configure_logs  # noqa: PLC0415 - a health check has nothing to log

    configure_logs(level, part=part)


@contextmanager
def ledger_for(command: str) -> Iterator[tuple[Settings, Database]]:
    """Give a ledger that exists and has the form that this program needs, and do not wait long for it."""
    from api.databases import opened, place, wait_for  # noqa: PLC0415 - only these commands need it
    from ledger.migrate import check_schema  # noqa: PLC0415 - (as above)

    settings = settings_for(command)
    log_as(command, "error")
    with opened(settings) as (database, _):
        try:
            wait_for(database, seconds=_COMMAND_WAIT_SECONDS)
        except psycopg.OperationalError as error:
            fail(f"The database at {place(database)} cannot be reached: {error}", UNWELL)
        check_schema(database)
        yield settings, database


@contextmanager
def progress_shown() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress to whoever sits at a terminal: call what is given with a stage, and how much of how much is done.

    A stage of which nobody knows how much it is has 0 to do.
    """
    from rich.console import Console  # noqa: PLC0415 - only long commands need it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        stages: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage)
            bars.update(stages[stage], completed=done, total=total or None)

        yield show


def print_json(content: object) -> None:
    """Answer a machine."""
    click.echo(_json.encode(content))


def fail(sentence: str, code: int) -> NoReturn:
    """End the program with a sentence, in which passwords are masked, and an exit code."""
    from api.logs import mask  # noqa: PLC0415 - a health check has nothing to log

    click.echo(mask(sentence), err=True)
    sys.exit(code)
