"""How a part of the service looks for garbage: seldom, and not in what it has started with.

Python looks for circles of objects that nobody uses whenever some hundred more objects are alive than before, which
every wave of requests brings about, and now and then through all there are, which stops everything for tens of
milliseconds. Nearly everything here is freed without it, as soon as nobody refers to it.
"""

import gc
from typing import Final

YOUNG_OBJECTS_MAX: Final = 50_000
"""How many more objects may be alive before the young ones are looked through: many waves of requests."""

_YOUNG_ROUNDS_MAX: Final = 20
_OLD_ROUNDS_MAX: Final = 20


def collect_seldom() -> None:
    """Take all that is alive for permanent, and look through the rest seldom. To be called when a part has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, _YOUNG_ROUNDS_MAX, _OLD_ROUNDS_MAX)
