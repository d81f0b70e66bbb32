"""Ports for the servers of tests, which no other program on the machine is given in the meantime.

The kernel may give a port that it picked to another program as soon as the port is free again, and a test would then
call the wrong server. So these ports come from below the kernel's range, one after the other, and each worker of a run
has a range of its own.
"""

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle
from typing import Final

_PORTS: Final = range(10_000, 32_768)  # Linux picks ports from 32,768 on, other systems from 49,152


def _stretch() -> Iterator[int]:
    """Cycle through this worker's ports from a random start, so that two runs at a time seldom collide."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = _PORTS[worker::workers]
    start = random.randrange(len(ports))
    return cycle((*ports[start:], *ports[:start]))


_ports: Final = _stretch()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens. Ports are reused only after all others were given."""
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
