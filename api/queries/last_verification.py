"""The last clean verification of the whole log, noted in a file of the data directory.

The store itself cannot be the place, because anybody who changes the log could change the note with it. The note serves
reminders; an auditor's own note of position and digest stays the proof.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

_FILE: Final = "verified.json"


class Verified(Struct, frozen=True, kw_only=True):
    """The last position that was verified, its digest in hex, and the time in seconds since 1970."""

    position: int
    digest: str
    at: float


class LastVerification(Struct, frozen=True, kw_only=True):
    """The last position that was verified, and the seconds since then."""

    position: int
    seconds_ago: float


def note_verification(directory: Path, *, position: int, digest: str) -> None:
    """Note that the whole log was found right up to a position; a machine without a data directory notes nothing."""
    text = msgspec.json.encode(Verified(position=position, digest=digest, at=time.time()))
    new = directory / f".{_FILE}.{os.getpid()}"
    with suppress(OSError):
        new.write_bytes(text)
        new.replace(directory / _FILE)


def last_verification(directory: Path) -> LastVerification | None:
    """Read the note. None without one."""
    try:
        noted = msgspec.json.decode((directory / _FILE).read_bytes(), type=Verified)
    except (OSError, msgspec.MsgspecError):
        return None
    return LastVerification(position=noted.position, seconds_ago=max(0.0, time.time() - noted.at))
