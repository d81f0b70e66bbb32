"""A clock that a test steps, forward or back, under a Postgres that runs.

The server is started with Debian's libfaketime, which takes no rights: it adds an offset to each time that the system's
clock tells. The offset is read from a file at every look at the clock, so all processes of the server step at the same
moment. The monotonic clock stays, as it does when a machine's clock is set.
"""

import time
from pathlib import Path

import psutil

_LIBRARY = "libfaketime.so.1"
"""The library for programs without threads. That for threads takes a lock, which a signal handler would wait for."""

_FOLDERS = ("/usr/lib", "/usr/local/lib", "/usr/lib64")


def find_library() -> Path | None:
    """Return the library, where the package `faketime` is installed."""
    found = (path for folder in _FOLDERS for path in Path(folder).glob(f"**/faketime/{_LIBRARY}"))
    return next(found, None)


def remove_leftovers() -> None:
    """Remove the shared memory of processes that were killed, which the library could not remove itself."""
    for left in Path("/dev/shm").glob("*faketime_*"):  # noqa: S108 - the library's place
        number = left.name.rpartition("_")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            left.unlink(missing_ok=True)


class SteppedClock:
    """The clock of one server; `offset_seconds` is how far it is ahead of the true time."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self._library = library
        self._steps: list[tuple[float, int]] = []
        self.step(0)

    @property
    def server_prefix(self) -> list[str]:
        """The first words of the server's command line."""
        # As words of `env` and not in the launcher's environment: the launcher becomes another user, who could not open
        # the semaphore that the library has made before.
        settings = {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            "DONT_FAKE_MONOTONIC": 1,  # its name in older versions
        }
        return ["/usr/bin/env", *(f"{name}={value}" for name, value in settings.items())]

    def step(self, offset_seconds: int) -> None:
        """Set the clock so far ahead of the true time, or behind it."""
        self.offset_seconds = offset_seconds
        self._steps.append((time.monotonic(), offset_seconds))
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_seconds:+d}\n")
        new.chmod(0o644)
        new.replace(self._file)

    def offsets_since(self, began: float) -> list[int]:
        """The offsets that were in force at any moment since then; `began` is a time of the monotonic clock."""
        followers = [at for at, _ in self._steps[1:]] + [float("inf")]
        return [offset for (_, offset), until in zip(self._steps, followers, strict=True) if until >= began]
