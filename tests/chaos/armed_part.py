"""A part of the service that dies at a fail point, the n-th time it gets there.

    python -m tests.chaos.armed_part --hits FILE --die-at writer.after_commit:3 worker

Before the process kills itself it writes the place's name into the file of hits, which so proves where it died. The
part itself is started as `payment-ledger` starts it.
"""

import os
import signal
from typing import get_args

import click

from api.cli import main as payment_ledger
from ledger.fail_points import FailPoint, arm


@click.command()
@click.option("--hits", required=True)
@click.option("--die-at", required=True)
@click.argument("part")
def main(hits: str, die_at: str, part: str) -> None:
    """Arm this process, and run the part in it."""
    place, _, count = die_at.partition(":")
    assert place in get_args(FailPoint), place
    left = int(count)

    def reach(name: FailPoint) -> None:
        nonlocal left
        left -= name == place
        if left == 0:
            # One write to a file opened for appending is whole, whoever else writes at the same moment.
            out = os.open(hits, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(out, f"{name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    arm(reach)
    payment_ledger([part])


if __name__ == "__main__":
    main()
