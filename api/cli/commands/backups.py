"""`payment-ledger backup` and `restore`: base back-ups of the database, and the way back from one."""

import sys
from datetime import datetime
from pathlib import Path

import click

from api.backups.restore import Restored, Target, restore
from api.backups.take import Backup, take_backup
from api.cli.command import EXIT_UNHEALTHY, EXIT_USAGE, as_json_option, fail, partition_option, settings_for
from api.cli.ledger_access import chosen, ledger_for
from api.cli.options import KEYS_ARE_OLD, skip_option, time_option_value
from api.cli.output import print_json
from api.cli.progress import progress_shown
from api.runtime.logs import configure_logs

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command("backup")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@partition_option
@as_json_option
def backup_command(*, directory: Path, number: int | None, as_json: bool) -> None:
    """Take a base back-up of the database into DIR, which is empty or not there, and check it.

    Payments may go on during that time. DATABASE_URL needs a user with REPLICATION. It is a back-up of the server that
    has the partition, with all that is in it; the position that it notes is that of the partition.
    """
    with ledger_for("backup") as (_, partitions):
        taken = take_backup(chosen(partitions, number).database, directory)
    if as_json:
        print_json(taken)
    else:
        _print_backup(taken)


@click.command("restore")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@click.option(
    "--to",
    "moment",
    metavar="TIME",
    callback=time_option_value,
    help="Up to this moment, RFC 3339 with an offset. It needs WAL in WAL_ARCHIVE_DIR.",
)
@skip_option
@as_json_option
def restore_command(*, directory: Path, moment: datetime | None, skip: int | None, as_json: bool) -> None:
    """Restore a back-up from DIR into LEDGER_DATA_DIR, which has no ledger yet; recover it, and audit it.

    Without --to, the store is as new as the WAL of the back-up and of WAL_ARCHIVE_DIR allows. This is for the embedded
    Postgres: a server of your own is restored with its own tools. The exit code is 1 when the audit finds an error.
    """
    settings = settings_for("restore")
    configure_logs("error", part="restore")
    if settings.database_url is not None:
        fail(
            "DATABASE_URL is set: restore that server with its own tools, then run `payment-ledger recover` and"
            " `payment-ledger audit verify`.",
            EXIT_USAGE,
        )
    target = Target(
        data_dir=settings.data_dir,
        noted_heads=settings.noted_heads_folder,
        archive=settings.wal_archive_dir,
        moment=moment,
    )
    with progress_shown() as progress:
        restored = restore(directory, target, skip=skip, on_progress=progress)
    if as_json:
        print_json(restored)
    else:
        _print_restored(restored, settings.data_dir)
    if settings.partitions > 1:
        click.echo(
            f"Only schema {restored.backup.schema} was recovered and audited. Before the service starts, run"
            " `payment-ledger recover` and `payment-ledger audit verify`, which are for all partitions.",
            err=True,
        )
    sys.exit(0 if restored.audit.ok else EXIT_UNHEALTHY)


def _print_backup(taken: Backup) -> None:
    note = taken.note
    click.echo(f"{taken.directory} has ledger {note.ledger_id} from position {note.position} or later.")
    click.echo(f"It can be restored to {note.ended_at.isoformat()} and to moments after that while WAL is archived.")
    if taken.checked.not_possible is None:
        click.echo(f"{taken.checked.program} has checked it.")
    else:
        click.echo(f"pg_verifybackup could not check it: {taken.checked.not_possible}.")
        click.echo(
            "Instead, every file was compared with the manifest by size and SHA-256, and pg_waldump read its WAL."
        )
    if not note.wal_archived:
        click.echo("This server archives no WAL, so the back-up can be restored to its end only.")


def _print_restored(restored: Restored, data_dir: Path) -> None:
    done, audit = restored.recovered, restored.audit
    click.echo(f"Restored ledger {restored.backup.ledger_id} into {data_dir}.")
    click.echo(f"{done.calls} open calls count as begun; {done.skipped} numbers are left out.")
    for error in audit.errors:
        click.echo(f"position {error.position}: {error.what}", err=True)
    verdict = "All is as it has to be" if audit.ok else "Not all is as it has to be"
    click.echo(f"{verdict}: {audit.events} events up to position {audit.position}.")
    click.echo(f"digest {audit.digest}")
    click.echo(KEYS_ARE_OLD)
