"""Copies of a Postgres server: a standby that follows it, and a base back-up that is restored to a moment."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg

from api.runtime.embedded_postgres.programs import program

WITHIN_SECONDS = 60.0


def socket_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["host"][0]


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def wait_until(url: str, statement: str) -> None:
    """Wait until a query answers true."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while run(url, statement) != [(True,)]:
        assert time.monotonic() < deadline, statement
        time.sleep(0.02)


def cluster_of(data_dir: Path) -> Path:
    return data_dir / "postgres/cluster"


def take_base_backup(url: str, source: Path, target: Path, *, standby: bool = False) -> Path:
    """Copy the server of the data directory `source` into the data directory `target`, and return the new cluster."""
    cluster = cluster_of(target)
    cluster.parent.mkdir(parents=True, mode=0o700)
    target.chmod(0o700)
    taking = [str(program("pg_basebackup")), "-D", str(cluster), "-X", "stream", "-c", "fast"]
    subprocess.run([*taking, *(["-R"] if standby else []), "-h", socket_of(url), "-U", "postgres"], check=True)
    _give_to_owner(cluster, of=cluster_of(source))
    return cluster


def restore_to(cluster: Path, *, source: Path, restore_point: str) -> None:
    """Let a base back-up begin with the WAL that its source has written since, up to a restore point."""
    archive = cluster.parent / "archive"
    shutil.copytree(cluster_of(source) / "pg_wal", archive)
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f'restore_command = \'cp "{archive}/%f" "%p"\'\n')
        settings.write(f"recovery_target_name = '{restore_point}'\nrecovery_target_action = 'promote'\n")
    (cluster / "recovery.signal").touch()
    _give_to_owner(cluster, of=cluster_of(source))
    _give_to_owner(archive, of=cluster_of(source))


def kill_server(data_dir: Path) -> None:
    """Kill all processes of a server, as a power cut would, and remove its cluster, so that it cannot come back."""
    server = psutil.Process(int((cluster_of(data_dir) / "postmaster.pid").read_text().split()[0]))
    for process in (server, *server.children()):
        process.kill()
    shutil.rmtree(cluster_of(data_dir))


def _give_to_owner(folder: Path, *, of: Path) -> None:
    owner = of.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
