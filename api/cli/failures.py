"""Turns errors into messages and exit codes of the command line. Loaded only when a command has raised one."""

import psycopg
import psycopg.errors

from api.cli.command import EXIT_UNHEALTHY, EXIT_USAGE
from api.runtime.embedded_postgres.programs import NoDataDirectory
from api.runtime.ports import CannotListen
from api.settings import SettingsError
from ledger.errors import LedgerError


def answer_to(error: Exception) -> tuple[str, int] | None:
    """Give the sentence and the exit code for an error; None for one that nobody expects, whose traceback is needed."""
    match error:
        case SettingsError() | NoDataDirectory():
            return str(error), EXIT_USAGE
        case LedgerError() | CannotListen():
            return str(error), EXIT_UNHEALTHY
        case psycopg.OperationalError():
            return f"The database cannot be reached, or was lost: {error}", EXIT_UNHEALTHY
        case psycopg.errors.InsufficientPrivilege():
            return f"This is for the schema's owner, whom DATABASE_URL has to name: {error}", EXIT_UNHEALTHY
        case _:
            return None
