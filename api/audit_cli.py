"""The audit from the command line: `payment-ledger audit ...`.

Tables for people, `--json` for machines; the exit code is 1 when something is wrong. What a command needs is imported
when it runs (see `api.cli`).
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from api.command_line import UNWELL, Commands, as_json_option, fail, ledger_for, print_json, progress_shown

if TYPE_CHECKING:
    from ledger.audit import NotedHead

_position = click.IntRange(0, 2**63 - 1)
_identifier = click.IntRange(1, 2**53 - 1)
_whole_file = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.group(cls=Commands)
def audit() -> None:
    """Prove that the books are right, and keep the log elsewhere."""


# --- the proof -------------------------------------------------------------------------------------------------------


def _noted(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> "list[NotedHead]":
    from ledger.audit import NotedHead  # noqa: PLC0415 - only these commands need it

    heads = []
    for value in values:
        found = re.fullmatch(r"([0-9]{1,18}):([0-9a-fA-F]{64})", value, re.ASCII)
        if found is None:
            raise click.BadParameter("has to be POSITION:DIGEST, as `audit verify` tells them")
        heads.append(NotedHead(int(found[1]), found[2]))
    return heads


_expect_option = click.option(
    "--expect",
    "noted",
    metavar="POSITION:DIGEST",
    multiple=True,
    callback=_noted,
    help="A head that was noted elsewhere. May be given several times.",
)


@audit.command("verify")
@click.option("--from", "start", type=click.IntRange(1), default=1, help="The first position to check.")
@click.option("--to", "upto", type=_position, help="The last position to check. Default: the end.")
@_expect_option
@click.option("--seals-only", is_flag=True, help="Recompute the seals, and leave out what follows from the events.")
@as_json_option
def verify_command(*, start: int, upto: int | None, noted: "list[NotedHead]", seals_only: bool, as_json: bool) -> None:
    """Recompute every seal, account, payment, snapshot and read model.

    The first position that is wrong is named, and what is wrong with it. Payments may go on meanwhile. A part of the
    log (--from, --to) is checked by itself: what was before is trusted, and read models are left out.
    """
    if upto is not None and upto < start:
        raise click.UsageError("--to has to be at least --from.")
    with ledger_for("audit") as (_, database), progress_shown() as progress:
        if seals_only:
            from ledger.audit import verify_seals  # noqa: PLC0415 - only this command needs it

            report = verify_seals(
                database, start=start, upto=upto, noted=noted, on_progress=lambda *done: progress("seals", *done)
            )
        else:
            from api.auditing import verify  # noqa: PLC0415 - only this command needs it

            report = verify(database, start=start, upto=upto, noted=noted, on_progress=progress)
    if as_json:
        print_json(report)
    else:
        from api.tables import print_audit  # noqa: PLC0415 - machines do without

        print_audit(report)
    sys.exit(0 if report.ok else UNWELL)


# --- the books -------------------------------------------------------------------------------------------------------


@audit.command("replay")
@click.argument("subject", type=click.Choice(["payment", "account"]))
@click.argument("identifier", metavar="ID", type=_identifier)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event a line.")
def replay_command(*, subject: str, identifier: int, as_json: bool) -> None:
    """Show a payment or an account event by event, with what it has come to by each: why it is what it is."""
    from api.replay import replay_account, replay_payment  # noqa: PLC0415 - only this command needs it
    from api.tables import print_replayed  # noqa: PLC0415 - (as above)

    with ledger_for("audit") as (_, database):
        replay = replay_payment if subject == "payment" else replay_account
        for replayed in replay(database, identifier):
            if as_json:
                print_json(replayed)
            else:
                print_replayed(replayed)


def _time(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    from api.errors import RequestInvalid  # noqa: PLC0415 - only this command needs it
    from api.times import moment  # noqa: PLC0415 - (as above)

    try:
        return moment(value, path="at")
    except RequestInvalid:
        raise click.BadParameter("has to be a time such as 2026-11-23T09:30:00Z, with Z or an offset") from None


@audit.command("balance")
@click.argument("account_id", metavar="ACCOUNT", type=_identifier)
@click.option("--at", metavar="TIME", callback=_time, help="At a time, RFC 3339 with an offset.")
@click.option("--position", type=_position, help="At a position of the log.")
@as_json_option
def balance_command(*, account_id: int, at: datetime | None, position: int | None, as_json: bool) -> None:
    """Show what an account held at a time or at a position, from its events; without either, what it holds now."""
    from api.auditing import read_balance  # noqa: PLC0415 - only this command needs it

    if at is not None and position is not None:
        raise click.UsageError("--at and --position cannot be given together.")
    with ledger_for("audit") as (_, database):
        balance = read_balance(database, account_id, position=position, at=at)
    if as_json:
        print_json(balance)
    else:
        from api.tables import print_balance  # noqa: PLC0415 - machines do without

        print_balance(balance)


@audit.command("trial-balance")
@as_json_option
def trial_balance_command(*, as_json: bool) -> None:
    """Sum up the journal. The exit code is 1 when the books do not balance."""
    from api.auditing import sum_up  # noqa: PLC0415 - only this command needs it

    with ledger_for("audit") as (_, database):
        books = sum_up(database)
    if as_json:
        print_json(books)
    else:
        from api.tables import print_trial_balance  # noqa: PLC0415 - machines do without

        print_trial_balance(books)
    sys.exit(0 if books.balanced else UNWELL)


# --- the log elsewhere -----------------------------------------------------------------------------------------------


@audit.command("export")
@click.argument("file", type=_whole_file)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON, for machines.")
def export_command(*, file: Path, as_json: bool) -> None:
    """Write the log to FILE, one event a line, or to standard output for `-`.

    A FILE that is there is continued: where an export was killed, and where the log has grown since.
    """
    from ledger.audit_export import export_to_file, export_to_stream  # noqa: PLC0415 - only this command needs it

    to_stdout = file == Path("-")
    if to_stdout and as_json:
        raise click.UsageError("--json goes with a FILE: standard output is where the events go.")
    with ledger_for("audit") as (_, database), _files_fail(file), progress_shown() as progress:
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


@audit.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), required=False)
@_expect_option
@click.option("--take-over", "taking_over", is_flag=True, help="Put this store in charge: it calls the gateway then.")
@as_json_option
def import_command(*, file: Path | None, noted: "list[NotedHead]", taking_over: bool, as_json: bool) -> None:
    """Fill an empty store from FILE, an export, or from standard input for `-`.

    It is a copy then: it can be read, and takes no payments before --take-over, which may also be given later and
    without a FILE. Make sure before that the store that was in charge has stopped for good.
    """
    if file is None and not taking_over:
        raise click.UsageError("Give a FILE to import, or --take-over, or both.")
    done: dict[str, Any] = {}
    with ledger_for("audit") as (_, database), progress_shown() as progress:
        if file is not None:
            from ledger.audit_import import import_log  # noqa: PLC0415 - only this command needs it

            with _files_fail(file), _opened(file) as (stream, size):
                done["imported"] = import_log(
                    database, stream, noted=noted, on_progress=lambda read: progress("bytes", read, size)
                )
        if taking_over:
            from ledger.take_over import take_over  # noqa: PLC0415 - only this command needs it

            done["taken_over"] = take_over(database, on_progress=progress)
    if as_json:
        print_json(done)
    else:
        from api.tables import print_import  # noqa: PLC0415 - machines do without

        print_import(done.get("imported"), done.get("taken_over"))


def _events(progress: Any) -> Any:  # noqa: ANN401 - from one form of a callback to another
    return lambda done, total: progress("events", done, total)


@contextmanager
def _opened(file: Path) -> "Iterator[tuple[BinaryIO, int]]":
    """Open a file to read, and tell how large it is; nobody knows that of standard input."""
    if file == Path("-"):
        yield sys.stdin.buffer, 0
    else:
        with file.open("rb") as stream:
            yield stream, file.stat().st_size


@contextmanager
def _files_fail(file: Path) -> Iterator[None]:
    """Answer what is wrong with a file with a sentence; a reader of standard output that has gone is click's."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{file}: {error.strerror}", UNWELL)
