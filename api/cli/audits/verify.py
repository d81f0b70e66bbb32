"""`payment-ledger audit verify`: the proof."""

import sys

import click
from rich.console import Console

from api.cli.command import EXIT_UNHEALTHY, as_json_option
from api.cli.integers import POSITION, POSITION_MAX
from api.cli.ledger_access import ledger_for
from api.cli.options import expect_option
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.cli.tables import escape
from api.operator.verification import verify
from api.queries.last_verification import note_verification
from ledger.audit.findings import AuditReport
from ledger.audit.verify import ExpectedHead, verify_seals


@click.command("verify")
@click.option("--from", "start", type=click.IntRange(1, POSITION_MAX), default=1, help="The first position to check.")
@click.option("--to", "upto", type=POSITION, help="The last position to check. Default: the end.")
@expect_option
@click.option("--seals-only", is_flag=True, help="Recompute the seals, and leave out what follows from the events.")
@as_json_option
def verify_command(
    *, start: int, upto: int | None, expected: list[ExpectedHead], seals_only: bool, as_json: bool
) -> None:
    """Recompute every seal, account, payment, snapshot and read model.

    It names the first wrong position and the error there. Payments may go on during that time. A part of
    the log (--from, --to) is checked by itself: earlier events are trusted, and read models are left out.
    """
    if upto is not None and upto < start:
        raise click.UsageError("--to has to be at least --from.")
    with ledger_for("audit") as (settings, partitions), progress_shown() as progress:
        if seals_only:
            report = verify_seals(
                partitions.only.database,
                start=start,
                upto=upto,
                expected=expected,
                on_progress=lambda *done: progress("seals", *done),
            )
        else:
            report = verify(partitions.only.database, start=start, upto=upto, expected=expected, on_progress=progress)
            if report.ok and start == 1 and upto is None:
                note_verification(settings.data_dir, position=report.position, digest=report.digest)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    sys.exit(0 if report.ok else EXIT_UNHEALTHY)


def _print_report(report: AuditReport) -> None:
    console = Console()
    for error in report.errors:
        console.print(f"[red]position {error.position}[/]: {escape(error.what)}", soft_wrap=True)
    verdict = "[green]All is as it has to be"
    if report.errors:
        verdict = f"[red]Not all is as it has to be, first at position {report.errors[0].position}"
    console.print(f"{verdict}[/]: {report.events} events up to position {report.position}.")
    console.print(f"digest {report.digest}", soft_wrap=True)
