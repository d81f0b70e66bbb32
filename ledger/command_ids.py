"""New ids for commands and requests.

They are made without asking the system for random bytes each time: that lets go of the interpreter, and to get it back
takes longer than all the rest. They have to be new, and are no secret.
"""

import random
from typing import Final

_random: Final = random.Random()  # noqa: S311 - no secret; seeded by the system, so that no two processes give the same


def new_command_id() -> str:
    """Give an id that no command and no request has had: 32 hexadecimal digits."""
    return f"{_random.getrandbits(128):032x}"
