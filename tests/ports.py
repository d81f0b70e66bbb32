"""Ports for the servers of tests, which nothing else on the machine is given in the meantime.

A port that the kernel has picked may be the next program's as soon as it is let go, and then whoever waits for one
server knocks at another. So these come from below the kernel's, one after the other, and each worker of a run has a
stretch of its own.
"""

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle
from typing import Final

_PORTS: Final = range(10_000, 32_768)  # Linux picks from 32,768 on, other systems from 49,152


def _stretch() -> Iterator[int]:
    """Go round and round this worker's ports, from a place of chance, so that two runs side by side seldom meet."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = _PORTS[worker::workers]
    start = random.randrange(len(ports))
    return cycle((*ports[start:], *ports[:start]))


_ports: Final = _stretch()


def free_port() -> int:
    """Find a port of 127.0.0.1 on which nobody listens, and which is not given again before all others were."""
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
