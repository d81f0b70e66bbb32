"""Takes a base back-up of the whole server that holds the ledger, and checks it.

A back-up is a folder: `cluster` has the server's files with the WAL that they need, and `backup.json` names the ledger
and the head of its log before the back-up was begun. The note is written last, so a folder without it is not a back-up.
"""

import os
import shutil
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.backups import programs
from api.backups.check import Checked, check
from api.backups.errors import BackupFailed
from api.runtime.embedded_postgres.programs import last_lines
from ledger.audit.verify import ExpectedHead, read_head
from ledger.store.database import Database
from ledger.store.log import clock_of
from ledger.store.migrate import ledger_id

CLUSTER: Final = "cluster"
NOTE: Final = "backup.json"

_VERSION_STEP: Final = 10_000  # 180004 is 18.4
_ENVIRONMENT: Final = {"password": "PGPASSWORD", "passfile": "PGPASSFILE"}


class BackupNote(Struct, frozen=True, kw_only=True):
    """The content of `backup.json`. `position` and `digest` are the head of the log before the back-up was begun.

    The times are those of the server's clock. The store can be restored to any moment from `ended_at` on.
    """

    ledger_id: str
    schema: str
    position: int
    digest: str
    began_at: datetime
    ended_at: datetime
    postgres_version: int
    wal_archived: bool

    @property
    def head(self) -> ExpectedHead:
        """The head that every restore of this back-up must have."""
        return ExpectedHead(self.position, self.digest)


class Backup(Struct, frozen=True, kw_only=True):
    """A back-up that was taken, and how it was checked."""

    directory: str
    note: BackupNote
    checked: Checked


def take_backup(database: Database, directory: Path) -> Backup:
    """Take a back-up into a folder that is empty or not there.

    Raises BackupFailed, and psycopg.Error when the server cannot be reached.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupFailed(why=f"{directory} is not an empty directory.")
    with closing(database.administration.connect(application="payment-ledger backup", owner=True)) as connection:
        server = connection.info.server_version // _VERSION_STEP
        taking = programs.find("pg_basebackup", server=server, newer_too=True)
        if taking.path is None:
            raise BackupFailed(why=f"No pg_basebackup can serve this server: {'; '.join(taking.refused)}.")
        head, began_at = read_head(connection), clock_of(connection)
        _copy(taking.path, database.administration, directory)
        note = BackupNote(
            ledger_id=str(ledger_id(connection)),
            schema=database.schema,
            position=head.position,
            digest=head.digest.hex(),
            began_at=began_at,
            ended_at=clock_of(connection),
            postgres_version=server,
            wal_archived=_is_archived(connection),
        )
    checked = check(directory / CLUSTER, server=server)
    if checked.wrong:
        raise BackupFailed(why=f"It was taken, and is not whole: {'; '.join(checked.wrong)}")
    _write(directory, note)
    return Backup(directory=str(directory), note=note, checked=checked)


def read_note(directory: Path) -> BackupNote | None:
    """Read the note of a back-up; None for a folder that is not one."""
    try:
        return msgspec.json.decode((directory / NOTE).read_bytes(), type=BackupNote)
    except (OSError, msgspec.MsgspecError):
        return None


def _copy(program: Path, database: Database, directory: Path) -> None:
    given = {name: value for name, value in conninfo_to_dict(database.url).items() if value is not None}
    # A command line can be read by every user of the machine, an environment cannot.
    secrets = {_ENVIRONMENT[name]: str(given.pop(name)) for name in _ENVIRONMENT if name in given}
    given.pop("options", None)
    made = not directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = make_conninfo("", **{**given, "application_name": "payment-ledger backup"})
    done = programs.run(
        [
            *(str(program), f"--dbname={connection}", f"--pgdata={directory / CLUSTER}", "--no-password"),
            *("--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"),
        ],
        secrets,
    )
    if done.returncode != 0:
        shutil.rmtree(directory / CLUSTER, ignore_errors=True)
        if made:
            directory.rmdir()
        raise BackupFailed(why=f"pg_basebackup failed:\n{last_lines(done.stdout)}")


def _is_archived(connection: "psycopg.Connection[Any]") -> bool:
    row = connection.execute("SHOW archive_mode").fetchone()
    return row is not None and row[0] != "off"


def _write(directory: Path, note: BackupNote) -> None:
    written = directory / f"{NOTE}.written"
    with written.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    written.replace(directory / NOTE)
