"""`payment-ledger audit export` and `import`: the log elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console

from api.cli.command import EXIT_UNHEALTHY, as_json_option, fail, partition_option
from api.cli.ledger_access import chosen, ledger_for
from api.cli.options import expect_option, skip_option
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.runtime.database import place
from api.settings.parsers import DATABASE_URL
from ledger.audit.verify import ExpectedHead
from ledger.export.activate import Activated, activate
from ledger.export.exporter import export_to_file, export_to_stream
from ledger.export.importer import Imported, import_log
from ledger.export.retire import retire as retire_store
from ledger.store.database import Database


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON, for machines.")
@partition_option
def export_command(*, file: Path, number: int | None, as_json: bool) -> None:
    """Write the log to FILE, one event a line, or to standard output for `-`.

    A FILE that is there is continued: where an export was killed, and where the log has grown since. Each partition has
    a log, and so a FILE, of its own.
    """
    to_stdout = file == Path("-")
    if to_stdout and as_json:
        raise click.UsageError("--json goes with a FILE: standard output is where the events go.")
    with ledger_for("audit") as (_, partitions), _files_fail(file), progress_shown() as progress:
        database = chosen(partitions, number).database
        if to_stdout:
            export_to_stream(database, sys.stdout.buffer, on_progress=_events(progress))
            return
        exported = export_to_file(database, file, on_progress=_events(progress))
    if as_json:
        print_json(exported)
    else:
        click.echo(
            f"Wrote {exported.written} events; {file} has all {exported.position} of ledger {exported.ledger_id}."
        )
        click.echo(f"digest {exported.digest}")


def _database_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return str(DATABASE_URL(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), required=False)
@expect_option
@click.option("--take-over", "taking_over", is_flag=True, help="Put this store in charge: it calls the gateway then.")
@click.option(
    "--retire",
    metavar="URL",
    callback=_database_url,
    help="The database of the store that was in charge. It must have no event that this one lacks, and it never starts"
    " again. Then no number is left out, unless --skip says so.",
)
@skip_option
@partition_option
@as_json_option
def import_command(
    *,
    file: Path | None,
    expected: list[ExpectedHead],
    taking_over: bool,
    retire: str | None,
    skip: int | None,
    number: int | None,
    as_json: bool,
) -> None:
    """Fill an empty store from FILE, an export, or from standard input for `-`.

    It is a copy then: it can be read, and takes no payments before --take-over, which may also be given later and
    without a FILE. Make sure before that the store that was in charge has stopped for good, or let --retire do that.
    """
    if file is None and not taking_over:
        raise click.UsageError("Give a FILE to import, or --take-over, or both.")
    if skip is not None and not taking_over:
        raise click.UsageError("--skip goes with --take-over: numbers are left out when the copy is put in charge.")
    if retire is not None and not taking_over:
        raise click.UsageError("--retire goes with --take-over: a store is retired when another one is put in charge.")
    done: dict[str, Any] = {}
    with ledger_for("audit") as (_, partitions), progress_shown() as progress:
        database = chosen(partitions, number).database
        if file is not None:
            with _files_fail(file), _opened(file) as (stream, size):
                done["imported"] = import_log(
                    database,
                    stream,
                    expected=expected,
                    on_progress=lambda read: progress("bytes", read, size),
                )
        if retire is not None:
            retired = Database(retire, database.schema)
            retire_store(retired, database, successor=place(database))
            done["retired"] = place(retired)
            skip = 0 if skip is None else skip
        if taking_over:
            done["taken_over"] = activate(database, skip=skip, on_progress=progress)
    if as_json:
        print_json(done)
    else:
        _print_import(done.get("imported"), done.get("taken_over"))
        if retire is not None:
            click.echo(f"The store at {done['retired']} is retired: it never starts again.")


def _events(progress: Callable[[str, int, int], None]) -> Callable[[int, int], None]:
    return lambda done, total: progress("events", done, total)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file to read, and tell how large it is; nobody knows that of standard input."""
    if file == Path("-"):
        yield sys.stdin.buffer, 0
    else:
        with file.open("rb") as stream:
            yield stream, file.stat().st_size


@contextmanager
def _files_fail(file: Path) -> Iterator[None]:
    """Report a file error in one sentence. click handles a closed standard output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{file}: {error.strerror}", EXIT_UNHEALTHY)


def _print_import(imported: Imported | None, taken_over: Activated | None) -> None:
    """Show what an import, a take-over or both have done."""
    console = Console()
    if imported is not None:
        console.print(f"Imported {imported.events} events of ledger {imported.ledger_id}.", soft_wrap=True)
        console.print(f"digest {imported.digest}", soft_wrap=True)
    if taken_over is not None:
        console.print(f"This store is in charge now; {taken_over.open_payments} payments go on to the gateway.")
        console.print(f"{taken_over.skipped} numbers of users and payments are left out.")
    else:
        console.print("This store is a copy: it takes no payments before `payment-ledger audit import --take-over`.")
