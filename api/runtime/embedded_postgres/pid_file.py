"""The server's postmaster.pid, read once for all that is asked of it: a server that ends removes the file."""

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PID_FILE: Final = "postmaster.pid"
_NUMBER_LINE, _SOCKET_LINE, _STATUS_LINE = 0, 4, 7


class PidFile(NamedTuple):
    """The file's lines: only the first ones while the server starts, and an empty tuple without a file."""

    lines: tuple[str, ...] = ()

    @property
    def number(self) -> int | None:
        """The process id of the postmaster. Another process may have it by now."""
        with suppress(ValueError):
            return int(self._line(_NUMBER_LINE))
        return None

    @property
    def is_ready(self) -> bool:
        """Whether the server accepts connections, by the same check as pg_ctl."""
        return self._line(_STATUS_LINE) == "ready"

    @property
    def socket_directory(self) -> Path | None:
        """The directory of the server's socket."""
        line = self._line(_SOCKET_LINE)
        return Path(line) if line else None

    def _line(self, index: int) -> str:
        return self.lines[index].strip() if index < len(self.lines) else ""


def read_pid_file(cluster: Path) -> PidFile:
    """Read the file of a cluster."""
    with suppress(FileNotFoundError):
        return PidFile(tuple((cluster / PID_FILE).read_text(encoding="utf-8", errors="replace").split("\n")))
    return PidFile()
