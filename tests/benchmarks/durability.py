"""Whether figures count: the Postgres that they come from has to be durable, and its files have to lie on a disk.

A benchmark with `fsync`, `full_page_writes` or `synchronous_commit` off measures another product, and so does one whose
files are in memory. The settings are asked for in the sessions that count: the owner's and the service's own.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from ledger.database import Database
from ledger.sql import load_statements

SQL: Final = load_statements("tests.benchmarks", "durability.sql")

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


class NotDurable(Exception):
    """What would be measured is not durable; the text says why."""


def ensure_server_durable(url: str) -> None:
    """Look at a server's settings before anything is measured on it. Raises NotDurable."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        if found := lost_durability(read_settings(connection)):
            raise NotDurable("; ".join(found))


def ensure_durable(database: Database) -> None:
    """Look at the settings as the owner's and the service's sessions have them. Raises NotDurable."""
    found: list[str] = []
    for who, owner in (("the owner", True), ("the service", False)):
        with closing(database.connect(application="payment-ledger bench", owner=owner)) as connection:
            found += [f"for {who}, {what}" for what in lost_durability(read_settings(connection))]
    if found:
        raise NotDurable("; ".join(found))


def read_settings(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Read the settings that an answer's durability hangs on, as this session has them."""
    return dict(connection.execute(SQL["durable_settings"]).fetchall())


def lost_durability(settings: Mapping[str, str]) -> list[str]:
    """Say which settings lose what has been answered."""
    wanted = ("fsync", "full_page_writes", "synchronous_commit")
    return [f"{name} is {settings.get(name, 'unknown')}" for name in wanted if settings.get(name) in {None, "off"}]


def ensure_on_disk(directory: Path) -> None:
    """Make sure that files in a directory are on a disk. Raises NotDurable."""
    kind = file_system_of(directory, [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)])
    if kind in IN_MEMORY:
        raise NotDurable(f"{directory} is in memory ({kind}), where nothing is durable")


def file_system_of(directory: Path, mounts: Sequence[tuple[str, str]]) -> str:
    """Give the kind of file system that a directory is in; of several mounts at one place the last one counts."""
    place = os.path.realpath(directory)
    kind, depth = "unknown", -1
    for mount, fstype in mounts:
        if len(mount) >= depth and (place == mount or place.startswith(mount.rstrip("/") + "/")):
            kind, depth = fstype, len(mount)
    return kind
