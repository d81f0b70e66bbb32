"""Restores a back-up into an empty data directory, and makes the ledger in it fit to go on.

The embedded Postgres recovers the files, with the WAL of the archive if there is one. Then the store is recovered
(`ledger.recovery`), because the gateway and the clients may know more than it does, and audited.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import sql

from api.backups.check import check
from api.backups.errors import RestoreFailed
from api.backups.take import CLUSTER, BackupNote, read_note
from api.operator.verification import verify
from api.runtime.embedded_postgres.programs import POSTGRES_VERSION, EmbeddedPostgresFailed
from api.runtime.embedded_postgres.restored_cluster import (
    RECOVERY_SETTINGS,
    has_cluster,
    place_cluster,
    remove_cluster,
    wait_until_recovered,
)
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.audit.findings import AuditReport
from ledger.progress import Progress
from ledger.recovery.noted_head import NotedHeads
from ledger.recovery.recover import Recovery, recover
from ledger.store.database import Database
from ledger.store.migrate import check_schema

_RECOVERY_SECONDS_MAX: Final = 24 * 3600.0
"""How long Postgres may read archived WAL."""


class Target(Struct, frozen=True, kw_only=True):
    """Where a back-up is restored, and up to which moment. Without one, up to the end of the WAL that there is."""

    data_dir: Path
    noted_heads: Path
    archive: Path | None
    moment: datetime | None


class Restored(Struct, frozen=True, kw_only=True):
    """A restored ledger: its back-up, the recovery of the store, and the audit after it."""

    backup: BackupNote
    recovered: Recovery
    audit: AuditReport


def restore(directory: Path, target: Target, *, skip: int | None, on_progress: Progress[str]) -> Restored:
    """Restore a back-up, recover its ledger with a gap of the size `skip`, and audit it.

    Nothing is left in the data directory when Postgres cannot recover it. Raises RestoreFailed, SchemaOlder or
    SchemaNewer for the store of another release, and NumbersUsedUp.
    """
    note = _usable(directory, target)
    try:
        place_cluster(directory / CLUSTER, target.data_dir, archive=target.archive, moment=target.moment)
    except OSError as error:
        raise RestoreFailed(why=f"{error}.") from error
    postgres = EmbeddedPostgres(target.data_dir, wal_archive=target.archive, start_seconds_max=_RECOVERY_SECONDS_MAX)
    try:
        url = postgres.start()
        wait_until_recovered(postgres, url)
    except EmbeddedPostgresFailed as failed:
        postgres.stop()
        remove_cluster(target.data_dir)
        raise RestoreFailed(why=f"Postgres could not recover it, and it was removed again. {failed.why}") from failed
    with postgres:
        _forget_recovery(url)
        database = Database(url, note.schema)
        check_schema(database)
        target.noted_heads.mkdir(mode=0o700, exist_ok=True)
        until = "the end of the WAL" if target.moment is None else target.moment.isoformat()
        why = f"a back-up was restored to {until}"
        recovered = recover(database, why=why, skip=skip, noted_heads=NotedHeads(target.noted_heads))
        audit = verify(database, expected=[note.head], on_progress=on_progress)
    return Restored(backup=note, recovered=recovered, audit=audit)


def _usable(directory: Path, target: Target) -> BackupNote:
    """Read the note of a back-up that can be restored as it is asked. Raises RestoreFailed otherwise."""
    note = read_note(directory)
    if note is None:
        raise RestoreFailed(why=f"{directory} is not a whole back-up of `payment-ledger backup`.")
    if has_cluster(target.data_dir):
        raise RestoreFailed(
            why=f"{target.data_dir} has a ledger. Set LEDGER_DATA_DIR to an empty directory, or move"
            f" {target.data_dir / 'postgres'} away and keep the rest."
        )
    if str(note.postgres_version) != POSTGRES_VERSION:
        raise RestoreFailed(
            why=f"It is of Postgres {note.postgres_version}, and the embedded one is Postgres {POSTGRES_VERSION}."
        )
    if target.moment is not None:
        _check_moment(note, target.moment, target.archive)
    checked = check(directory / CLUSTER, server=note.postgres_version)
    if checked.wrong:
        raise RestoreFailed(why=f"The back-up is not whole: {'; '.join(checked.wrong)}")
    return note


def _check_moment(note: BackupNote, moment: datetime, archive: Path | None) -> None:
    """Check that a back-up can be restored to a moment. Raises RestoreFailed."""
    if moment < note.ended_at:
        raise RestoreFailed(
            why=f"The back-up ended at {note.ended_at.isoformat()}, after that moment: take an earlier one."
        )
    if archive is None:
        raise RestoreFailed(
            why="--to needs archived WAL, and WAL_ARCHIVE_DIR is not set. Without --to, the back-up is restored as it"
            " was when it ended."
        )
    if not any(archive.glob("*.gz")):
        raise RestoreFailed(why=f"--to needs archived WAL, and there is none in {archive}.")


def _forget_recovery(url: str) -> None:
    """Remove the settings of the recovery, which are over."""
    connection: psycopg.Connection[Any]
    with psycopg.connect(url, autocommit=True) as connection:
        for name in RECOVERY_SETTINGS:
            connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
