"""What the kernel knows of processes: the locks they hold and the command lines they were started with.

The locks are flock's. They end with their holder however that ends, so nothing stale is left to clear away, and they
are inherited, so a child can go on holding what its parent took.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_HAS_PROC: Final = (_PROC / "self" / "cmdline").exists()


def open_lock(path: Path) -> int:
    """Open a lock file, made when it is missing; one that root makes is for the directory's owner to open too."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait for a lock and hold it; children that are given the descriptor hold it after us."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a lock is held; those who only ask do not disturb each other, for they ask to share."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def command_of(number: int) -> str:
    """Give a process' command line, in which Postgres also says what it is doing; empty for one that is dead."""
    if not _HAS_PROC:
        asked = subprocess.run(["/bin/ps", "-p", str(number), "-o", "command="], stdout=subprocess.PIPE, check=False)
        return asked.stdout.decode(errors="replace")
    with suppress(FileNotFoundError, ProcessLookupError):
        return (_PROC / str(number) / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    return ""


def process_numbers() -> list[int]:
    """List the processes that run now."""
    if not _HAS_PROC:
        asked = subprocess.run(["/bin/ps", "-axo", "pid="], stdout=subprocess.PIPE, check=True)
        return [int(word) for word in asked.stdout.split()]
    return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]
