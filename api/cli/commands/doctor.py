"""`payment-ledger doctor`: the rule table of the service's health, row by row, with the remedy for each fault."""

import sys
from typing import Final

import click

from api.cli.command import as_json_option, settings_for
from api.cli.output import print_json
from api.cli.tables import escape, table, table_console
from api.operator.status import DoctorView, examine
from api.queries.health_rule import Severity
from api.runtime.database import opened
from api.runtime.logs import configure_logs

EXIT_BY_SEVERITY: Final[dict[Severity | None, int]] = {None: 0, "warning": 3, "error": 4, "critical": 5}
"""1 and 2 are those of every command: it could not be done, and it was called wrongly."""


@click.command("doctor")
@as_json_option
def doctor_command(*, as_json: bool) -> None:
    """Check every rule of the service's health, and show the remedy for each that is broken.

    The exit code says how bad the worst is: 0 for none, 3 for a warning, 4 for an error, 5 for a critical one.
    """
    settings = settings_for("doctor")
    configure_logs("critical", part="doctor")
    with opened(settings) as (partitions, _):
        seen = examine(partitions, settings)
    if as_json:
        print_json(seen)
    else:
        _print(seen)
    sys.exit(EXIT_BY_SEVERITY[seen.worst])


def _print(seen: DoctorView) -> None:
    console = table_console()
    rows = table("rule", "", "what is wrong")
    for rule in seen.rules:
        state = f"[red]{rule.severity}" if rule.sentences else "ok"
        rows.add_row(rule.name, state, escape("\n".join(rule.sentences)))
    console.print(rows)
    for rule in seen.rules:
        if rule.sentences:
            console.print(f"[red]{rule.name}[/]: {escape(rule.remedy)}")
