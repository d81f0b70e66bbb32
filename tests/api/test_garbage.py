"""How a part looks for garbage: in a process of its own, because this is a setting of the whole process."""

import subprocess
import sys

_LOOK = """
import gc, weakref
from api.garbage import collect_seldom

class Knot:
    pass

collect_seldom()
assert gc.isenabled() and gc.get_freeze_count() > 1000
knot = Knot()
knot.itself = knot
gone = weakref.ref(knot)
del knot
kept = []
while gone() is not None:
    kept.append([])
    assert len(kept) < 10_000_000, "the circle is still there"
"""


def test_circles_are_freed_though_seldom_looked_for() -> None:
    """What was there at the start is not looked through again; a circle made later is freed by and by."""
    looked = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=False)

    assert (looked.returncode, looked.stderr) == (0, "")
