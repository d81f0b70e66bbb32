"""Puts a base back-up in the place of the cluster, so that the server's next start recovers it to a moment.

The recovery always ends on a new timeline, also without an archive. So the store tells by itself that it is a restored
one, and its segments never take the name of one that was archived before.
"""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import psycopg

from api.runtime.embedded_postgres.os_processes import locked
from api.runtime.embedded_postgres.ownership import USER_UNDER_ROOT, change_owner, sync_directory
from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.runtime.embedded_postgres.server_settings import restore_command
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.runtime.embedded_postgres", "restored_cluster.sql")

RECOVERY_SETTINGS: Final = ("restore_command", "recovery_target_time", "recovery_target_action")
"""The settings that are written for a recovery. They have no effect after it."""


_POLL_SECONDS: Final = 0.1


def has_cluster(data_dir: Path) -> bool:
    """Tell whether a data directory has a server's files."""
    return _cluster_of(data_dir).exists()


def place_cluster(source: Path, data_dir: Path, *, archive: Path | None, moment: datetime | None) -> None:
    """Copy a base back-up into a data directory that has no cluster. The copy is complete or is not there.

    The recovery reads the WAL of the back-up and of `archive`, up to `moment`, or to the end. Raises OSError, and
    FileExistsError when there is a cluster.
    """
    home = _cluster_of(data_dir).parent
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)
    with locked(home / "lock"):
        if has_cluster(data_dir):
            raise FileExistsError(str(_cluster_of(data_dir)))
        made = Path(tempfile.mkdtemp(prefix="new-", dir=home))
        try:
            shutil.copytree(source, made, symlinks=True, dirs_exist_ok=True)
            made.chmod(0o700)
            _write_recovery(made, archive=archive, moment=moment)
            if os.geteuid() == 0:
                change_owner(made, USER_UNDER_ROOT)
            made.rename(_cluster_of(data_dir))
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        sync_directory(home)


def wait_until_recovered(postgres: EmbeddedPostgres, url: str) -> None:
    """Wait until a started server has read its WAL and accepts writes; it accepts reads sooner.

    Raises EmbeddedPostgresFailed when it ends instead, as it does when the WAL ends before the moment to recover to.
    """
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
            if connection.execute(SQL["read_recovery"]).fetchone() == (False,):
                return
        if not postgres.is_running():
            raise EmbeddedPostgresFailed(why=f"It ended while it recovered:\n{postgres.end_of_log()}")
        time.sleep(_POLL_SECONDS)


def remove_cluster(data_dir: Path) -> None:
    """Remove the cluster of a server that does not run."""
    with locked(_cluster_of(data_dir).parent / "lock"):
        shutil.rmtree(_cluster_of(data_dir))


def _write_recovery(cluster: Path, *, archive: Path | None, moment: datetime | None) -> None:
    # Each setting is written, also an empty one: the source may have been restored itself.
    values = (restore_command(archive), "" if moment is None else moment.isoformat(), "promote")
    with (cluster / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
        for name, value in zip(RECOVERY_SETTINGS, values, strict=True):
            quoted = value.replace("\\", "\\\\").replace("'", "''")
            settings.write(f"{name} = '{quoted}'\n")
    for leftover in ("standby.signal", "postmaster.pid"):
        with suppress(FileNotFoundError):
            (cluster / leftover).unlink()
    (cluster / "recovery.signal").touch()


def _cluster_of(data_dir: Path) -> Path:
    return data_dir / "postgres" / "cluster"
