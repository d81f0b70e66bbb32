"""Commands that run the service: all of it, one of its parts, or its migrations."""

import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

import click
import structlog

from api.auth.exposure import ensure_guarded
from api.cli.command import (
    EXIT_UNHEALTHY,
    as_json_option,
    check_partitions,
    fail,
    served_option,
    settings_for,
    until_eof_option,
)
from api.cli.failures import answer_to
from api.cli.output import print_json
from api.runtime.database import migrate_all, opened, prepare, wait_for
from api.runtime.http_readiness import api_url
from api.runtime.logs import configure_logs
from api.runtime.roles.running import run_part
from api.runtime.supervisor import PartKeepsDying, serve
from api.settings import SEED_MAX, Settings
from ledger.partition.identities import check_before_new
from ledger.partition.partition import Partitions
from ledger.store.migrate import Migration, migrations, missing_migrations

_ORPHAN_SECONDS_MAX: Final = 8.0
"""How long a part whose service was killed may take to stop by itself."""


@click.command("serve")
def serve_command() -> None:
    """Serve everything: API, worker, projector, demo gateway, and Postgres where there is none."""
    with suppress(KeyboardInterrupt), _refusals_logged("serve"):  # an early stop is not an error
        settings = settings_for("serve")
        configure_logs(settings.log_level, part="serve")
        try:
            serve(settings, ensure_guarded, lambda: _announce(settings))
        except PartKeepsDying as dying:
            fail(str(dying), EXIT_UNHEALTHY)


@click.command("api")
@until_eof_option
def api_command(*, until_eof: bool) -> None:
    """Serve the HTTP API alone."""
    _run_part("api", until_eof=until_eof)


@click.command("worker")
@until_eof_option
@served_option
def worker_command(*, until_eof: bool, served: tuple[int, ...]) -> None:
    """Drive payments through the gateway, alone."""
    _run_part("worker", until_eof=until_eof, served=served)


@click.command("projector")
@until_eof_option
@served_option
def projector_command(*, until_eof: bool, served: tuple[int, ...]) -> None:
    """Keep the read models up to date, alone."""
    _run_part("projector", until_eof=until_eof, served=served)


@click.command("serve")
@until_eof_option
@click.option(
    "--chaos",
    type=click.IntRange(0, SEED_MAX),
    metavar="SEED",
    help="Serve the chaos gateway: the same as DEMO_GATEWAY_KIND=chaos with this DEMO_GATEWAY_SEED.",
)
def gateway_command(*, until_eof: bool, chaos: int | None) -> None:
    """Serve the demo gateway alone."""
    _run_part("gateway", until_eof=until_eof, chaos=chaos)


@click.command("migrate")
@click.option("--plan", is_flag=True, help="Only show what would be applied, and which older parts may run after it.")
@click.option("--regardless", is_flag=True, help="Migrate beside older parts that may not run after it.")
@as_json_option
def migrate_command(*, plan: bool, regardless: bool, as_json: bool) -> None:
    """Bring the database's schema up to date, once."""
    with _refusals_logged("migrate"):
        settings = settings_for("migrate")
        configure_logs(settings.log_level, part="migrate")
        with opened(settings, create=not plan) as (partitions, _):
            missing = _missing(partitions)
            applied = [] if plan else migrate_all(partitions, regardless=regardless)
    shown = [each for each in migrations() if each.id in applied or (plan and each in missing)]
    if as_json:
        key = "missing" if plan else "applied"
        print_json({key: [each.id for each in shown], "beside": {each.id: each.beside.words for each in shown}})
        return
    if not shown:
        click.echo("Nothing to apply: the schema is up to date.")
        return
    click.echo(f"{'Missing:' if plan else 'Applied'} {', '.join(each.id for each in shown)}.")
    click.echo("May older parts run beside it?")
    for each in shown:
        click.echo(f"  {each.id}: {each.beside.words}")


def _missing(partitions: Partitions) -> list[Migration]:
    """Return the migrations that any of the partitions lacks, in their order. Raises PartitionsDiffer."""
    for partition in partitions:
        wait_for(partition.database)
    check_before_new(partitions)
    lacking = set()
    for partition in partitions:
        lacking |= {each.id for each in missing_migrations(partition.database)}
    return [each for each in migrations() if each.id in lacking]


@contextmanager
def _refusals_logged(part: str) -> Iterator[None]:
    """Write a line about an error that ends a part, beside the sentence for people; a terminal gets only the sentence.

    An error that nobody expects has a traceback of its own.
    """
    configure_logs("info", part=part)  # until the settings are read, which may be the error
    try:
        yield
    except Exception as error:
        if (answer := answer_to(error)) is not None and not sys.stderr.isatty():
            structlog.get_logger().critical("start_refused", because=answer[0], exit_code=answer[1])
        raise


def _run_part(name: str, *, until_eof: bool, chaos: int | None = None, served: Collection[int] = ()) -> None:
    with _refusals_logged(name):
        _run_part_logged(name, until_eof=until_eof, chaos=chaos, served=served)


def _run_part_logged(name: str, *, until_eof: bool, chaos: int | None, served: Collection[int]) -> None:
    settings = settings_for(name, warn=not until_eof)  # `serve` has given the warnings
    if chaos is not None:
        settings = replace(settings, demo_gateway_kind="chaos", demo_gateway_seed=chaos)
    configure_logs(settings.log_level, part=name)
    check_partitions(served, settings.partitions)
    if until_eof:
        threading.Thread(target=_stop_at_eof, name="until-eof", daemon=True).start()
    with opened(settings) as (partitions, postgres):
        if name == "gateway":
            wait_for(partitions.first.database)  # it keeps its book in a schema of its own, in that database
        else:
            prepare(settings, partitions, (name,))
        run_part(name, settings, partitions.serving(served), postgres=postgres)


def _announce(settings: Settings) -> None:
    url = api_url(settings)
    lines = [
        "The payment ledger is ready.",
        f"  API       {url}/api/v1",
        f"  docs      {url}/docs",
        f"  health    {url}/api/v1/health",
    ]
    if settings.demo_gateway:
        which = "a demo" if settings.demo_gateway_kind == "demo" else f"chaos, by the seed {settings.demo_gateway_seed}"
        lines.append(f"  gateway   {settings.demo_gateway_url} ({which}; PAYMENT_GATEWAY_URL names a real one)")
    with suppress(OSError):  # a reader who has gone does not end the service
        click.echo("\n".join(lines))


def _stop_at_eof() -> None:
    """Stop this process as a SIGTERM does when standard input ends, and by force when that takes too long."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS_MAX)
    os._exit(1)
