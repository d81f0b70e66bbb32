"""Notes the head of the log outside the database, so that a restored copy of the files is found to be behind.

Such a copy has the server and the timeline of its source, and nothing in it says that it is old. So a writer notes the
last head that it has committed, about once a second, in a file of the data directory, by the ledger's random id. A log
without that event was restored and needs a recovery.

The note is only an aid. Without the directory, or if the file cannot be read or written, nothing is noted and nothing
is compared.
"""

import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ledger.store.log import Head

NOTE_SECONDS: Final = 1.0
"""How often a head is noted while events are appended. A restored store that is behind by less is found by the next."""


class NotedHead(Struct, frozen=True, kw_only=True):
    """The last head that somebody on this machine has committed; `digest` is its seal, in hex.

    The other two are the next numbers of accounts and payments at that time.
    """

    position: int
    digest: str
    at: datetime
    next_account_id: int
    next_payment_sequence: int


class NotedHeads:
    """The notes of one writer in a folder. Without the folder nothing is noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ledger_id: UUID | None = None
        self._noted_at = 0.0
        self._last: Head | None = None

    def read(self, ledger_id: UUID) -> NotedHead | None:
        """Read the note about a ledger, about which notes are made from now on."""
        self._ledger_id = ledger_id
        try:
            return msgspec.json.decode(self._file(ledger_id).read_bytes(), type=NotedHead)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def note(self, head: Head) -> None:
        """Note a committed head, unless another one was noted a moment ago."""
        self._last = head
        if time.monotonic() - self._noted_at >= NOTE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Note the last committed head now, unless another process has noted a later one."""
        if self._last is None or self._ledger_id is None:
            return
        head, self._last, self._noted_at = self._last, None, time.monotonic()
        noted = self.read(self._ledger_id)
        if noted is None or noted.position < head.position:
            self._write(self._ledger_id, head)

    def note_recovery(self, ledger_id: UUID, head: Head) -> None:
        """Note the head of a recovered log. The note before may be of the lost time, with a higher position."""
        self._ledger_id, self._last = ledger_id, None
        self._write(ledger_id, head)

    def _write(self, ledger_id: UUID, head: Head) -> None:
        file = self._file(ledger_id)
        written = file.with_suffix(f".{socket.gethostname()}-{os.getpid()}")
        try:
            written.write_bytes(msgspec.json.encode(_noted(head)))
            written.replace(file)
        except OSError:
            pass  # no directory, or no room in it

    def _file(self, ledger_id: UUID) -> Path:
        return self._folder / f"{ledger_id}.json"


def _noted(head: Head) -> NotedHead:
    return NotedHead(
        position=head.position,
        digest=head.digest.hex(),
        at=head.at,
        next_account_id=head.next_account_id,
        next_payment_sequence=head.next_payment_sequence,
    )
