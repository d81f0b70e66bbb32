"""The command line, `payment-ledger`: runs the service and its parts, and is the operator's tool.

Tables for people, `--json` for machines. The exit code is 0 only when all is well: 1 says that it is not, 2 that the
command or its settings are wrong and nothing was done. What a command needs is imported when it runs, because health
checks start this program every few seconds.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from api.audit_cli import audit
from api.command_line import (
    UNWELL,
    WRONG,
    Commands,
    as_json_option,
    fail,
    ledger_for,
    log_as,
    print_json,
    progress_shown,
    settings_for,
)
from api.embedded_postgres import EmbeddedPostgres
from ledger.database import Database
from ledger.settings import CHECKOUT, SEED_MAX, Settings
from ledger.version import VERSION

_ORPHAN_SECONDS_MAX: Final = 8.0
"""How long a part whose service was killed may take to stop by itself."""

_TEXT_CHARACTERS_MAX: Final = 500

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="payment-ledger")
def main() -> None:
    """Run the payment ledger and look after it.

    Settings come from the environment and from .env. Without DATABASE_URL, a Postgres of our own serves.
    """
    # A stop from outside tidies up as a Ctrl-C does; the parts have handlers of their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


# --- the service -----------------------------------------------------------------------------------------------------


@main.command()
def serve() -> None:
    """Serve everything: API, worker, projector, demo gateway, and Postgres where there is none."""
    with suppress(KeyboardInterrupt):  # a stop is no error, however early it comes
        from api.server import PartKeepsDying  # noqa: PLC0415 - only this command needs it
        from api.server import serve as run  # noqa: PLC0415 - (as above)

        settings = settings_for("serve")
        log_as("serve", settings.log_level)
        try:
            run(settings, lambda: _announce(settings))
        except PartKeepsDying as dying:
            fail(str(dying), UNWELL)


def _part_command(name: str, what: str, *options: Callable[[FunctionT], FunctionT]) -> None:
    """Make the command that runs a part; an option that is named for a setting and given goes before the setting."""

    @click.option("--until-eof", is_flag=True, help="Stop when standard input ends, as it does when `serve` is killed.")
    def run(*, until_eof: bool, **given: Any) -> None:  # noqa: ANN401 - values of settings
        from api.databases import opened, prepare, wait_for  # noqa: PLC0415 - only these commands need it
        from api.standalone import run_part  # noqa: PLC0415 - (as above)

        settings = replace(settings_for(name), **{field: value for field, value in given.items() if value is not None})
        log_as(name, settings.log_level)
        if until_eof:
            threading.Thread(target=_stop_at_eof, name="until-eof", daemon=True).start()
        with opened(settings) as (database, postgres):
            if name == "gateway":
                wait_for(database)  # it keeps its book in a schema of its own
            else:
                prepare(settings, database)
            run_part(name, settings, database, postgres=postgres)

    command: Any = run
    for option in options:
        command = option(command)
    main.command(name, help=what)(command)


_part_command("api", "Serve the HTTP API alone.")
_part_command("worker", "Drive payments through the gateway, alone.")
_part_command("projector", "Keep the read models up to date, alone.")
_part_command(
    "gateway",
    "Serve the demo gateway alone.",
    click.option(
        "--chaos",
        "demo_gateway_chaos_seed",
        type=click.IntRange(0, SEED_MAX),
        metavar="SEED",
        help="Serve the chaos gateway in its place, which does all that gateways do wrong, as the seed has it.",
    ),
)


@main.command("migrate")
@as_json_option
def migrate_command(*, as_json: bool) -> None:
    """Bring the database's schema up to date, once."""
    from api.databases import opened, wait_for  # noqa: PLC0415 - only these commands need it
    from ledger.migrate import migrate  # noqa: PLC0415 - (as above)

    settings = settings_for("migrate")
    log_as("migrate", settings.log_level)
    with opened(settings, create=True) as (database, _):
        wait_for(database)
        applied = migrate(database)
    if as_json:
        print_json({"applied": applied})
    else:
        click.echo(f"Applied {', '.join(applied)}." if applied else "Nothing to apply: the schema is up to date.")


@main.command()
@click.argument("part", type=click.Choice(["api", "worker", "projector", "gateway"]))
@as_json_option
def ready(part: str, *, as_json: bool) -> None:
    """Tell whether a part that runs on this machine is ready; for health checks."""
    from api.readiness import HTTP_PARTS, answers, beats  # noqa: PLC0415 - only this command needs it

    settings = settings_for("ready")
    if part in HTTP_PARTS:
        is_ready = answers(part, settings)
    elif settings.database_url is not None:
        is_ready = beats(part, Database(settings.database_url, settings.schema))
    else:
        # What is not running is not started only to find that nobody uses it.
        postgres = EmbeddedPostgres(settings.data_dir)
        with postgres if postgres.is_running() else nullcontext() as url:
            is_ready = url is not None and beats(part, Database(url, settings.schema))
    if as_json:
        print_json({"part": part, "ready": is_ready})
    elif not is_ready:
        click.echo(f"The {part} is not ready.", err=True)
    sys.exit(0 if is_ready else UNWELL)


# --- the operator ----------------------------------------------------------------------------------------------------


@main.command()
@as_json_option
def status(*, as_json: bool) -> None:
    """Show how the whole service is. The exit code is 1 when something needs an operator."""
    from api.operations import read_status  # noqa: PLC0415 - only this command needs it

    with ledger_for("status") as (_, database):
        seen = read_status(database)
    if as_json:
        print_json(seen)
    else:
        from api.tables import print_status  # noqa: PLC0415 - machines do without

        print_status(seen)
    sys.exit(0 if seen.ok else UNWELL)


@main.group(cls=Commands)
def dlq() -> None:
    """Look at dead letters, and decide about them."""


@dlq.command("list")
@click.option("--state", type=click.Choice(["failed", "in_doubt", "reconcile"]), help="Only letters of this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@as_json_option
def dlq_list(*, state: Any, limit: int, offset: int, as_json: bool) -> None:  # noqa: ANN401 - one of the choices
    """List dead letters, newest first."""
    from api.operations import list_letters  # noqa: PLC0415 - only this command needs it

    with ledger_for("dlq") as (_, database):
        letters = list_letters(database, state=state, limit=limit, offset=offset)
    if as_json:
        print_json(letters)
    else:
        from api.tables import print_letters  # noqa: PLC0415 - machines do without

        print_letters(letters)


_payment_id = click.argument("payment_id", type=click.IntRange(1, 2**53 - 1))


@dlq.command("show")
@_payment_id
@as_json_option
def dlq_show(payment_id: int, *, as_json: bool) -> None:
    """Show all that has happened to a payment."""
    from api.operations import show_letter  # noqa: PLC0415 - only this command needs it

    with ledger_for("dlq") as (_, database):
        shown = show_letter(database, payment_id)
    if as_json:
        print_json(shown)
    else:
        from api.tables import print_history  # noqa: PLC0415 - machines do without

        print_history(shown)


def _text(_: click.Context, __: click.Parameter, value: str) -> str:
    text = value.strip()
    if not text or len(text) > _TEXT_CHARACTERS_MAX or not text.isprintable():
        raise click.BadParameter(f"has to be 1 to {_TEXT_CHARACTERS_MAX} printable characters")
    return text


def _decision(command: FunctionT) -> FunctionT:
    for option, what in (("--by", "Who decides."), ("--why", "Why; it is recorded with the payment.")):
        command = click.option(option, required=True, callback=_text, help=what)(command)
    return command


@dlq.command("requeue")
@_payment_id
@_decision
@as_json_option
def dlq_requeue(payment_id: int, *, why: str, by: str, as_json: bool) -> None:
    """Send a payment that failed at the gateway there again."""
    from api.operations import requeue  # noqa: PLC0415 - only this command needs it

    with ledger_for("dlq") as (settings, database):
        standing = requeue(settings, database, payment_id, why=why, by=by)
    _print_standing(standing.payment_id, standing.state, as_json=as_json)


@dlq.command("resolve")
@_payment_id
@click.option("--outcome", type=click.Choice(["success", "failed"]), required=True, help="What became of the payment.")
@_decision
@as_json_option
def dlq_resolve(payment_id: int, *, outcome: Any, why: str, by: str, as_json: bool) -> None:  # noqa: ANN401 - a choice
    """Close a dead letter with an outcome that is known from elsewhere."""
    from api.operations import resolve  # noqa: PLC0415 - only this command needs it

    with ledger_for("dlq") as (_, database):
        standing = resolve(database, payment_id, outcome=outcome, why=why, by=by)
    _print_standing(standing.payment_id, standing.state, as_json=as_json)


@main.command()
@click.option("--check-only", is_flag=True, help="Compare the read models with the log, and change nothing.")
@as_json_option
def rebuild(*, check_only: bool, as_json: bool) -> None:
    """Make the read models anew from the log, beside the live ones, and swap them in."""
    from projections.rebuild import rebuild as run  # noqa: PLC0415 - only this command needs it

    with ledger_for("rebuild") as (_, database), progress_shown() as progress:
        rebuilt = run(database, check_only=check_only, progress=progress)
    if as_json:
        print_json(rebuilt)
    else:
        from api.tables import print_rebuilding  # noqa: PLC0415 - machines do without

        print_rebuilding(rebuilt)
    sys.exit(0 if rebuilt.clean else UNWELL)


main.add_command(audit)


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def bench(words: tuple[str, ...]) -> None:
    """Measure how fast the ledger is on this machine; --help lists the options. Needs a checkout."""
    if not (CHECKOUT / "tests" / "benchmarks" / "__main__.py").exists():
        fail("The benchmark comes with the source and not with the installed package: run `make bench` there.", WRONG)
    # What is measured is this checkout, wherever the command was given; files are named from there.
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.benchmarks", *words], environment)  # noqa: S606


# --- parts -----------------------------------------------------------------------------------------------------------


def _announce(settings: Settings) -> None:
    from api.readiness import api_url  # noqa: PLC0415 - only `serve` needs it

    url = api_url(settings)
    lines = [
        "The payment ledger is ready.",
        f"  API       {url}/api/v1",
        f"  docs      {url}/docs",
        f"  health    {url}/api/v1/health",
    ]
    if settings.demo_gateway:
        seed = settings.demo_gateway_chaos_seed
        which = "a demo" if seed is None else f"chaos, by the seed {seed}"
        lines.append(f"  gateway   {settings.demo_gateway_url} ({which}; PAYMENT_GATEWAY_URL names a real one)")
    with suppress(OSError):  # a reader who has gone does not end the service
        click.echo("\n".join(lines))


def _print_standing(payment_id: int, state: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"payment_id": payment_id, "state": state})
    else:
        click.echo(f"Payment {payment_id} is now {state}.")


def _stop_at_eof() -> None:
    """Stop this process as a SIGTERM does when standard input ends, and by force when that takes too long."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS_MAX)
    os._exit(1)


if __name__ == "__main__":
    main()
