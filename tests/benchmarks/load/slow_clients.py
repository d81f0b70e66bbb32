"""Clients that send a byte a second and never end a request: half of them in the head, half of them in the body.

`python -m tests.benchmarks.load.slow_clients PORT COUNT` says `ready` when all are connected, and goes on until it is
stopped. A connection that the service closes is opened again.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Final

import uvloop

BYTE_SECONDS: Final = 1.0
_HEAD: Final = b"POST /api/v1/payments/deposit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"


async def drip(port: int, *, in_body: bool, connected: asyncio.Semaphore) -> None:
    """Keep one slow connection open."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            connected.release()
            writer.write(_HEAD + (b"\r\n" if in_body else b"X-Slow: "))
            closed = asyncio.ensure_future(reader.read())
            while not closed.done():
                writer.write(b" " if in_body else b"a")
                await asyncio.wait({closed}, timeout=BYTE_SECONDS)
            writer.close()


async def run(port: int, count: int) -> None:
    """Keep so many slow connections open."""
    connected = asyncio.Semaphore(0)
    slow = [asyncio.ensure_future(drip(port, in_body=bool(n % 2), connected=connected)) for n in range(count)]
    for _ in range(count):
        await connected.acquire()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*slow)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(int(sys.argv[1]), int(sys.argv[2])))
