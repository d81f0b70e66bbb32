"""The audit from the command line: `payment-ledger audit ...`.

Tables for people, `--json` for machines; the exit code is 1 when something is wrong. What a command needs is imported
when it runs (see `api.cli`).
"""

import sys

import click

from api.command_line import UNWELL, Commands, as_json_option, ledger_for, print_json, progress_shown


@click.group(cls=Commands)
def audit() -> None:
    """Prove that the log is whole and unchanged."""


@audit.command("verify")
@as_json_option
def verify_command(*, as_json: bool) -> None:
    """Recompute every seal. The exit code is 1 when one does not fit."""
    from ledger.audit import verify_seals  # noqa: PLC0415 - only this command needs it

    with ledger_for("audit") as (_, database), progress_shown() as progress:
        report = verify_seals(database, on_progress=lambda done, total: progress("seals", done, total))
    if as_json:
        print_json(report)
    else:
        from api.tables import print_audit  # noqa: PLC0415 - machines do without

        print_audit(report)
    sys.exit(0 if report.ok else UNWELL)
