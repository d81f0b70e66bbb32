"""`payment-ledger audit verify`: the proof."""

import sys
from pathlib import Path

import click
from rich.console import Console

from api.cli.command import EXIT_UNHEALTHY, as_json_option, every_partition_option, fail
from api.cli.integers import POSITION, POSITION_MAX
from api.cli.ledger_access import chosen, ledger_for
from api.cli.options import expect_option
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.cli.tables import escape
from api.operator.checkpoint import CheckpointUnfit, parse_checkpoint, read_checkpoint
from api.operator.several_partitions import LedgerAudit, PartitionAudit, verify_all
from api.operator.verification import verify
from api.queries.last_verification import note_verification
from ledger.audit.findings import AuditReport
from ledger.audit.verify import ExpectedHead, verify_seals
from ledger.partition.partition import Partition, Partitions
from ledger.progress import Progress


@click.command("verify")
@click.option("--from", "start", type=click.IntRange(1, POSITION_MAX), default=1, help="The first position to check.")
@click.option("--to", "upto", type=POSITION, help="The last position to check. Default: the end.")
@expect_option
@click.option(
    "--expect-checkpoint",
    "checkpoint_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A checkpoint that was kept elsewhere, as `audit checkpoint` prints it.",
)
@click.option("--seals-only", is_flag=True, help="Recompute the seals, and leave out what follows from the events.")
@every_partition_option
@as_json_option
def verify_command(
    *,
    start: int,
    upto: int | None,
    expected: list[ExpectedHead],
    checkpoint_file: Path | None,
    seals_only: bool,
    number: int | None,
    as_json: bool,
) -> None:
    """Recompute every seal, account, payment, snapshot and read model.

    It names the first wrong position and the error there. Payments may go on during that time. A part of
    the log (--from, --to) is checked by itself: earlier events are trusted, and read models are left out.
    Without --partition all partitions are checked, one after the other; --from, --to and --expect are about one.
    """
    if upto is not None and upto < start:
        raise click.UsageError("--to has to be at least --from.")
    is_part = start > 1 or upto is not None
    with ledger_for("audit") as (settings, partitions), progress_shown() as progress:
        noted = {} if checkpoint_file is None else _noted_heads(checkpoint_file, partitions)

        def check(partition: Partition, on_progress: Progress[str]) -> AuditReport:
            heads = [*expected, *noted.get(partition.number, [])]
            if seals_only:
                return verify_seals(
                    partition.database,
                    start=start,
                    upto=upto,
                    expected=heads,
                    on_progress=lambda *done: on_progress("seals", *done),
                )
            return verify(partition.database, start=start, upto=upto, expected=heads, on_progress=on_progress)

        if number is None and len(partitions) > 1 and not (is_part or expected):
            every = verify_all(partitions, check, on_progress=progress)
            report: AuditReport | LedgerAudit = every
            verified: AuditReport | PartitionAudit = every.partitions[0]
        else:
            report = verified = check(chosen(partitions, number), progress)
        is_whole = isinstance(report, LedgerAudit) or len(partitions) == 1
        if report.ok and is_whole and not (is_part or seals_only):
            note_verification(settings.data_dir, position=verified.position, digest=verified.digest)
    if as_json:
        print_json(report)
    elif isinstance(report, LedgerAudit):
        _print_audit(report)
    else:
        _print_report(report)
    sys.exit(0 if report.ok else EXIT_UNHEALTHY)


@click.command("checkpoint")
@as_json_option
def checkpoint_command(*, as_json: bool) -> None:
    """Print the last position and seal of each partition, and one digest over them, to be kept elsewhere.

    Each line has the id of the partition's store, its number, the position and the seal. The digest is the SHA-256 of
    the lines.
    """
    with ledger_for("audit") as (_, partitions):
        checkpoint = read_checkpoint(partitions)
    if as_json:
        print_json(checkpoint)
    else:
        click.echo(checkpoint.text, nl=False)


def _noted_heads(file: Path, partitions: Partitions) -> dict[int, list[ExpectedHead]]:
    """Read a checkpoint and return the head that each partition must have, by its number."""
    try:
        checkpoint = parse_checkpoint(file, count=len(partitions))
        return {partition.number: [checkpoint.head_of(partition)] for partition in partitions}
    except OSError as error:
        fail(f"{file}: {error.strerror}", EXIT_UNHEALTHY)
    except CheckpointUnfit as unfit:
        fail(str(unfit), EXIT_UNHEALTHY)


def _print_audit(audit: LedgerAudit) -> None:
    for each in audit.partitions:
        Console().print(f"[bold]Partition {each.partition}[/]")
        _print_report(each)
    console = Console()
    verdict = "[green]All partitions are as they have to be"
    if not audit.ok:
        wrong = ", ".join(str(each.partition) for each in audit.partitions if not each.ok)
        verdict = f"[red]Not all partitions are as they have to be: {wrong}"
    console.print(f"{verdict}[/]; {audit.events} events.")
    console.print(f"digest of all {audit.digest}", soft_wrap=True)


def _print_report(report: AuditReport | PartitionAudit) -> None:
    console = Console()
    for error in report.errors:
        console.print(f"[red]position {error.position}[/]: {escape(error.what)}", soft_wrap=True)
    verdict = "[green]All is as it has to be"
    if report.errors:
        verdict = f"[red]Not all is as it has to be, first at position {report.errors[0].position}"
    console.print(f"{verdict}[/]: {report.events} events up to position {report.position}.")
    console.print(f"digest {report.digest}", soft_wrap=True)
