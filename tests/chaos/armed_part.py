"""A process of the service that dies at a fail point, or freezes (SIGSTOP), the n-th time that it reaches it.

    python -m tests.chaos.armed_part --hits FILE --at writer.after_commit:3 [--freeze] worker

Before the process ends itself it appends the place's name to the file of hits, which proves where it died. The part is
started as `payment-ledger` starts it.
"""

import os
import signal
import threading
from typing import get_args

import click

from api.cli.main import main as payment_ledger
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
            # One write to a file opened for appending is atomic, even if other processes write at the same time.
            out = os.open(hits, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(out, f"{name}\n".encode())
            # The signal goes to this thread, which then goes no further. Another thread might take a signal to the
            # process first.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP if freeze else signal.SIGKILL)

    arm(reach)
    payment_ledger([part])


if __name__ == "__main__":
    main()
