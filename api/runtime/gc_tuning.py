"""Makes Python's garbage collector run rarely, and ignore the objects that exist when a part has started.

By default, the collector looks for reference cycles whenever some hundred more objects are alive than before, which
happens in every wave of requests. At times it scans all objects, which stops the process for tens of milliseconds.
Nearly all objects here are freed by reference counting, without the collector.
"""

import gc
from typing import Final

YOUNG_OBJECTS_MAX: Final = 50_000
"""How many new objects may be alive before the collector scans the young ones: many waves of requests."""

_YOUNG_ROUNDS_MAX: Final = 20
_OLD_ROUNDS_MAX: Final = 20


def relax_gc() -> None:
    """Freeze all objects that are alive, and make collections rare. Call it once, when a part has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, _YOUNG_ROUNDS_MAX, _OLD_ROUNDS_MAX)
