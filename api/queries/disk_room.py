"""The room on the disk of the data directory, where that directory is on this machine."""

import shutil
from pathlib import Path

from msgspec import Struct


class DiskRoom(Struct, frozen=True, kw_only=True):
    """The bytes of a disk, and those of them that are free for the service's user."""

    total_bytes: int
    free_bytes: int


def disk_room(data_directory: Path) -> DiskRoom | None:
    """Return the room on the disk of a directory. None when it cannot be read."""
    try:
        usage = shutil.disk_usage(data_directory)
    except OSError:
        return None
    return DiskRoom(total_bytes=usage.total, free_bytes=usage.free)
