"""How a part collects garbage, tested in a process of its own, because it is a setting of the whole process."""

import subprocess
import sys

_LOOK = """
import gc, weakref
from api.runtime.gc_tuning import relax_gc

class Knot:
    pass

relax_gc()
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


def test_cycles_are_freed_although_collections_are_rare() -> None:
    """Objects from the start are not traversed again, and a cycle made later is freed after some time."""
    looked = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=False)

    assert (looked.returncode, looked.stderr) == (0, "")
