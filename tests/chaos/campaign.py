"""Inject every fault at once, for minutes: `make chaos ARGS="--minutes 10 --seed 1"`.

Two APIs, two workers, two projectors and the chaos gateway run on a Postgres of their own, while clients pay and
operators decide about dead letters. The faults are those of the table in `faults`. At the end everything is started
again without faults, and the answers that clients got, the ledger and the gateway's book are compared. Tables list the
faults, the results and the comparisons; the exit code is 0 when nothing differs. The same seed gives the same gateway
and the same draws for the faults. Their order and effects differ a little, because they also depend on time.
"""

import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from processors.simulators.chaos.scenario import ChaosProfile
from tests.chaos.faults import Chosen, all_faults, choose, inject_faults
from tests.chaos.operators import Operators
from tests.chaos.payer import Payer, open_users
from tests.chaos.restores import Restores
from tests.chaos.run import SETTLE_SECONDS, Run
from tests.chaos.verification import Verified, verified
from tests.support.services import Client

USERS = 40
CLIENTS = 6
SHOWN_MAX = 50


def _print(run: Run, chosen: Chosen, end: Verified, *, minutes: float) -> None:
    console = Console(width=120)
    table = Table("event", title=f"Chaos, seed {run.profile.seed}, {minutes:g} minutes")
    table.add_column("count", justify="right", overflow="fold")
    _section(table, "faults", dict(sorted(run.counts.items())))
    _section(table, "habits of the gateway", {habit.name: str(habit.shares) for habit in chosen.habits})
    _section(table, "left out", chosen.left_out)
    _section(table, "died at", dict(sorted(run.fleet.hits.items())))
    _section(table, "the gateway's answers", dict(sorted(end.behaviours.items())))
    _section(table, "results", end.figures)
    console.print(table)
    compared = Table("compared", title="Comparisons")
    compared.add_column("things", justify="right")
    compared.add_column("differences", justify="right")
    for each in end.comparisons:
        compared.add_row(each.what, str(each.things), str(len(each.found)), style="bold red" if each.found else None)
    console.print(compared)
    for line in end.lost:
        console.print(line)
    for difference in end.found[:SHOWN_MAX]:
        console.print(difference, style="red")


def _section(table: Table, title: str, rows: Mapping[str, Any]) -> None:
    table.add_section()
    table.add_row(title, "", style="bold")
    for name, count in rows.items():
        table.add_row(f"  {name}", str(count))


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--seed", type=int, default=None, help="Chosen and printed when left out.")
@click.option("--faults", default="", help="Names, separated by commas. Without: all.")
@click.option("--keep", is_flag=True, help="Leave the directory with the database and the logs behind.")
def main(minutes: float, seed: int | None, faults: str, *, keep: bool) -> None:
    """Inject faults into a service for some minutes, and compare its ledger with all answers."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    restores, operators = Restores(), Operators()
    try:
        chosen = choose(all_faults(restores, operators), [name for name in faults.split(",") if name])
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--faults") from None
    shares = {name: share for habit in chosen.habits for name, share in habit.shares.items()}
    profile = replace(ChaosProfile(seed=seed, settle_seconds=SETTLE_SECONDS), **shares)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    click.echo(f"seed {seed}, in {directory}", err=True)
    with ExitStack() as stack:
        run = Run(directory, profile, stack)
        end = _inject_and_verify(run, chosen, restores, operators, minutes)
        _print(run, chosen, end, minutes=minutes)
        run.fleet.stop()
    if end.found or keep:
        click.echo(f"the database and the logs are in {directory}", err=True)
    else:
        shutil.rmtree(directory)
    sys.exit(1 if end.found else 0)


def _inject_and_verify(run: Run, chosen: Chosen, restores: Restores, operators: Operators, minutes: float) -> Verified:
    run.start()
    apis, seed = run.fleet.apis(), run.profile.seed
    with Client(apis[0].url) as client:
        openings = open_users(client, USERS)
    urls, users = [api.url for api in apis], list(openings)
    run.payers = [
        Payer(f"payer-{n}", urls, users, seed=seed, pause_seconds=0.02, world=lambda: run.world) for n in range(CLIENTS)
    ]
    others = [
        threading.Thread(target=run.restart_dead, daemon=True),
        threading.Thread(target=operators.decide_alone, args=(run, seed), daemon=True),
    ]
    for thread in (*run.payers, *others):
        thread.start()
    for member in run.parts:
        member.kill()  # they are restarted with a fail point armed
    inject_faults(run, chosen.faults, minutes, lambda line: click.echo(line, err=True))
    run.continue_frozen()
    run.wait_until_all_died()
    run.restart_without_faults()
    for thread in others:
        thread.join()
    for payer in run.payers:
        payer.finish()
    return verified(run, openings, restores.losses)


if __name__ == "__main__":
    main()
