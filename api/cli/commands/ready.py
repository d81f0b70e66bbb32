"""`payment-ledger ready`: the health check of one part, quick because it is called every few seconds."""

import json
import sys
from importlib import import_module

import click

from api.cli.command import EXIT_UNHEALTHY, as_json_option, check_partitions, served_option, settings_for
from api.runtime.http_readiness import HTTP_PARTS, http_part_ready


@click.command("ready")
@click.argument("part", type=click.Choice(["api", "worker", "projector", "gateway"]))
@served_option
@as_json_option
def ready_command(part: str, *, served: tuple[int, ...], as_json: bool) -> None:
    """Tell whether a part that runs on this machine is ready; for health checks.

    A worker or projector that was started with --partition is asked for with the same.
    """
    settings = settings_for("ready")
    if served and part in HTTP_PARTS:
        raise click.UsageError("--partition goes with worker and projector.")
    check_partitions(served, settings.partitions)
    if part in HTTP_PARTS:
        is_ready = http_part_ready(part, settings)
    else:
        # Only these parts are looked for in the database, and only their check loads its driver.
        is_ready = import_module("api.runtime.readiness").beating_part_ready(part, settings, served=served)
    if as_json:
        click.echo(json.dumps({"part": part, "ready": is_ready}, separators=(",", ":")))
    elif not is_ready:
        click.echo(f"The {part} is not ready.", err=True)
    sys.exit(0 if is_ready else EXIT_UNHEALTHY)
