"""New ids for commands and requests, and the salt of gateway keys.

The ids come from a random generator in this process. Asking the operating system for random bytes each time releases
the interpreter lock, and getting the lock back takes longer than everything else. The ids must be unique, not secret.
A salt is made once a batch, and a process that was copied with its machine must not make the same one again: it comes
from the system.
"""

import os
import random
from typing import Final

COMMAND_ID_CHARACTERS: Final = "[A-Za-z0-9._:=+/-]{1,128}"
"""The pattern of an id; a client may send its own for a request."""

_random: Final = random.Random()  # noqa: S311 - not secret; the system seeds it, so two processes make different ids


def new_key_salt() -> str:
    """Return 16 hexadecimal digits that make gateway keys unique among all ledgers, copies and restored stores."""
    return os.urandom(8).hex()


def new_command_id() -> str:
    """Return a new id of 32 hexadecimal digits, which no other command or request has."""
    return f"{_random.getrandbits(128):032x}"
