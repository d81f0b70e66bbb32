"""Whether figures count: the measured Postgres must be durable, and its files must be on a disk.

A benchmark with `fsync`, `full_page_writes` or `synchronous_commit` off measures another product. The same is true if
its files are in memory. The settings are read in the sessions that count: the owner's and the service's own.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from ledger.store.database import Database
from ledger.store.statements import load_statements

SQL: Final = load_statements("tests.benchmarks.measuring", "durability.sql")

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


class NotDurable(Exception):
    """The measured server would not be durable; the text says why."""


def ensure_server_durable(url: str) -> None:
    """Check a server's settings before anything is measured on it. Raises NotDurable."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        if found := lost_durability(read_settings(connection)):
            raise NotDurable("; ".join(found))


def ensure_durable(database: Database) -> None:
    """Check the settings in sessions of the owner and of the service. Raises NotDurable."""
    found: list[str] = []
    for who, owner in (("the owner", True), ("the service", False)):
        with closing(database.connect(application="payment-ledger bench", owner=owner)) as connection:
            found += [f"for {who}, {what}" for what in lost_durability(read_settings(connection))]
    if found:
        raise NotDurable("; ".join(found))


def read_settings(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Read the settings that durability depends on, as this session has them."""
    return dict(connection.execute(SQL["durable_settings"]).fetchall())


def lost_durability(settings: Mapping[str, str]) -> list[str]:
    """Name the settings that can lose acknowledged answers."""
    wanted = ("fsync", "full_page_writes", "synchronous_commit")
    return [f"{name} is {settings.get(name, 'unknown')}" for name in wanted if settings.get(name) in {None, "off"}]


def ensure_on_disk(directory: Path) -> None:
    """Check that a directory's files are on a disk. Raises NotDurable."""
    kind = file_system_of(directory, [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)])
    if kind in IN_MEMORY:
        raise NotDurable(f"{directory} is in memory ({kind}), where nothing is durable")


def file_system_of(directory: Path, mounts: Sequence[tuple[str, str]]) -> str:
    """Return the kind of file system of a directory. If several are mounted at one place, the last one counts."""
    place = os.path.realpath(directory)
    kind, depth = "unknown", -1
    for mount, fstype in mounts:
        if len(mount) >= depth and (place == mount or place.startswith(mount.rstrip("/") + "/")):
            kind, depth = fstype, len(mount)
    return kind
