"""File locks and command lines of operating system processes.

The locks are those of flock. The kernel releases a lock when its holder ends in any way, so a lock is never stale. A
child process inherits its parent's locks and can hold them after the parent has ended.
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
    """Open a lock file, and create it if it is missing. A file that root creates belongs to the directory's owner."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait for a lock and hold it; child processes that inherit the descriptor go on holding it."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds a lock. Several processes may ask at once, because each asks for a shared lock."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def command_of(number: int) -> str:
    """Return the command line of a process, which Postgres uses to show its activity; empty for a dead process."""
    if not _HAS_PROC:
        asked = subprocess.run(["/bin/ps", "-p", str(number), "-o", "command="], stdout=subprocess.PIPE, check=False)
        return asked.stdout.decode(errors="replace")
    with suppress(FileNotFoundError, ProcessLookupError):
        return (_PROC / str(number) / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    return ""


def process_numbers() -> list[int]:
    """Return the ids of all running processes."""
    if not _HAS_PROC:
        asked = subprocess.run(["/bin/ps", "-axo", "pid="], stdout=subprocess.PIPE, check=True)
        return [int(word) for word in asked.stdout.split()]
    return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]
