"""The owner of the server's files, and writing their directory to disk."""

import os
from pathlib import Path
from typing import Final

# Under root the server runs as a user number that nothing else uses: it has no passwd entry, is outside the ranges that
# Debian and systemd assign, and is below 65536, where a container's ids often end.
USER_UNDER_ROOT: Final = 65523


def change_owner(top: Path, user: int) -> None:
    """Give a folder and everything in it to a user and to the group of that number."""
    for folder, _, files in os.walk(top):
        os.chown(folder, user, user)
        for name in files:
            os.chown(Path(folder) / name, user, user, follow_symlinks=False)


def sync_directory(directory: Path) -> None:
    """Write the names in a directory to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_for(directory: Path, user: int) -> None:
    """Make a private directory that belongs to a user. One that is there stays as it is."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        os.chown(directory, user, -1)
