"""A part of the service that dies at a fail point, the n-th time it gets there, or freezes (SIGSTOP).

    python -m tests.chaos.armed_part --hits FILE --at writer.after_commit:3 [--freeze] worker

Before the process ends itself it writes the place's name into the file of hits, which so proves where it died. The
part itself is started as `payment-ledger` starts it.
"""

import os
import signal
import threading
from typing import get_args

import click

from api.cli import main as payment_ledger
from ledger.fail_points import FailPoint, arm


@click.command()
@click.option("--hits", required=True)
@click.option("--at", required=True)
@click.option("--freeze", is_flag=True)
@click.argument("part")
def main(hits: str, at: str, part: str, *, freeze: bool) -> None:
    """Arm this process, and run the part in it."""
    place, _, count = at.partition(":")
    assert place in get_args(FailPoint), place
    left = int(count)

    def reach(name: FailPoint) -> None:
        nonlocal left
        if name != place:
            return
        left -= 1
        if left == 0:
            # One write to a file opened for appending is whole, whoever else writes at the same moment.
            out = os.open(hits, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(out, f"{name}\n".encode())
            # To this very thread, which so gets no further; another might take a signal to the process first.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP if freeze else signal.SIGKILL)

    arm(reach)
    payment_ledger([part])


if __name__ == "__main__":
    main()
