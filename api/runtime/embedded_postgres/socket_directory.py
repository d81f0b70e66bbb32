"""The private directory of the server's socket, and the file in the data directory that names it.

The directory's name is random, so that no other user can create it first, and short, because socket paths must be
short. It is outside the data directory, so a program that tidies up temporary files may remove it.
"""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_SOCKET: Final = ".s.PGSQL.5432"
_PREFIX: Final = "payment-ledger-"
_CHARACTERS_MAX: Final = 80  # the whole path of a socket has 104 on macOS, 108 on Linux


class SocketDirectory:
    """The socket directory of one data directory, which may not exist yet."""

    def __init__(self, note: Path) -> None:
        """Keep the directory's path in the file `note`."""
        self._note = note

    def read(self) -> Path | None:
        """Return the directory that is noted; None when there is none."""
        with suppress(FileNotFoundError):
            return Path(self._note.read_text(encoding="utf-8"))
        return None

    def has_socket(self) -> bool:
        """Tell whether a server can be reached: its socket is in the directory."""
        directory = self.read()
        return directory is not None and (directory / _SOCKET).exists()

    def note(self, directory: Path) -> None:
        """Note the directory. Several processes may do so at once, because each writes a file of its own first."""
        with tempfile.NamedTemporaryFile("w", prefix="socket-", dir=self._note.parent, delete=False) as noted:
            noted.write(str(directory))
        Path(noted.name).replace(self._note)

    def make(self, user: int, *, known: Path | None) -> Path:
        """Return an empty directory that only the server's user can enter, and note it.

        The noted one is used as long as it exists. If it was removed and others know its path, `known`, it is made
        again there, because their connections lead to it.
        """
        directory = self.read() or known
        if directory is not None and _is_private(directory, user):
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (directory / name).unlink(missing_ok=True)
        elif known is None or not _make_again(known, user):
            directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_short_temporary_directory()))
            os.chown(directory, user, -1)
        else:
            directory = known
        self.note(directory)
        return directory

    def remove(self) -> None:
        """Remove the directory and the note of it."""
        directory = self.read()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        self._note.unlink(missing_ok=True)


def _make_again(directory: Path, user: int) -> bool:
    """Make a directory that was removed. Returns False when somebody else has made one there."""
    try:
        directory.mkdir(mode=0o700)
    except OSError:
        return False
    os.chown(directory, user, -1)
    return True


def _short_temporary_directory() -> str:
    name_characters = len(f"/{_PREFIX}12345678")
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private directory of a random name in it
        if len(os.fsencode(place)) + name_characters <= _CHARACTERS_MAX and '"' not in place:
            return place
    raise AssertionError("unreachable: /tmp is short")


def _is_private(directory: Path, user: int) -> bool:
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
