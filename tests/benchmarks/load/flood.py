"""A load generator that sends deposits at a steady rate whatever the answers are, and tells them apart by status.

It opens a further connection when all are waiting for an answer, up to a number; beyond that, requests wait in it.
`python -m tests.benchmarks.load.flood PLAN` prints its result as JSON.
"""

import asyncio
import re
import sys
import time
from collections import deque
from itertools import count
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from tests.benchmarks.load.traffic import Traffic, requests
from tests.benchmarks.measuring.measures import percentile
from tests.benchmarks.measuring.parts import command_output

TICK_SECONDS: Final = 0.002
LAST_ANSWER_SECONDS: Final = 15.0

_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class FloodPlan(Struct, frozen=True, kw_only=True):
    """So many requests a second, for so long, on at most so many connections."""

    port: int
    traffic: Traffic
    rate: float
    seconds: float
    connections_max: int


class Answers(Struct, kw_only=True):
    """The answers of one status: latencies in milliseconds from sending, and p99 of each second of the run."""

    count: int
    p50: float
    p99: float
    longest: float
    p99_by_second: list[float]


class FloodResult(Struct, frozen=True, kw_only=True):
    """The answers by status, the requests sent, and those that could not be sent or got no answer."""

    answers: dict[int, Answers]
    sent: int
    unsent: int
    unanswered: int
    connections: int
    seconds: float
    cpu_seconds: float

    @property
    def accepted(self) -> Answers:
        """The answers with 202."""
        return self.answers.get(202) or Answers(count=0, p50=0.0, p99=0.0, longest=0.0, p99_by_second=[])

    @property
    def refused(self) -> dict[int, Answers]:
        """All other answers."""
        return {status: answers for status, answers in self.answers.items() if status != 202}


class Line(asyncio.Protocol):
    """One connection: it sends a request, and hands on the status of the whole answer."""

    def __init__(self, flood: "Flood") -> None:
        self._flood = flood
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio's
        self._flood.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Count a request without an answer."""
        self._flood.lost(self)

    def send(self, request: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self.sent_at = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read an answer, and hand it on when it is whole."""
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        status = int(head[9:12])
        self._read.clear()
        self._flood.answered(self, status)


class Flood:
    """One run."""

    def __init__(self, plan: FloodPlan) -> None:
        self._plan = plan
        self._requests = requests(plan.traffic)
        self._free: list[Line] = []
        self._lines: set[Line] = set()
        self._under_way: set[Line] = set()
        self._opening = 0
        self._openings: set[asyncio.Future[None]] = set()
        self._is_over = asyncio.Event()
        self._due: deque[None] = deque()
        self._found: dict[int, list[tuple[float, float]]] = {}
        self._began = 0.0
        self._sent = self._lost = self._most = 0

    async def run(self) -> FloodResult:
        """Send for the time of the plan, and wait for the last answers."""
        self._began = time.monotonic()
        asked = 0
        for _ in count():
            elapsed = time.monotonic() - self._began
            if elapsed >= self._plan.seconds:
                break
            wanted = int(elapsed * self._plan.rate)
            self._due.extend([None] * (wanted - asked))
            asked = wanted
            self._send_due()
            await asyncio.sleep(TICK_SECONDS)
        took, unsent = time.monotonic() - self._began, len(self._due)
        self._due.clear()
        self._is_over.clear()
        if self._under_way:
            await asyncio.wait([asyncio.ensure_future(self._is_over.wait())], timeout=LAST_ANSWER_SECONDS)
        return FloodResult(
            answers={status: _answers(found, self._plan.seconds) for status, found in sorted(self._found.items())},
            sent=self._sent,
            unsent=unsent,
            unanswered=len(self._under_way) + self._lost,
            connections=self._most,
            seconds=took,
            cpu_seconds=time.process_time(),
        )

    def _send_due(self) -> None:
        while self._due and self._free:
            self._due.popleft()
            line = self._free.pop()
            self._under_way.add(line)
            self._sent += 1
            line.send(next(self._requests))
        room = self._plan.connections_max - len(self._lines) - self._opening
        for _ in range(min(room, len(self._due) - self._opening)):
            self._opening += 1
            opening = asyncio.ensure_future(self._open())
            self._openings.add(opening)
            opening.add_done_callback(self._openings.discard)

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Line(self), "127.0.0.1", self._plan.port)
        except OSError:
            pass
        finally:
            self._opening -= 1

    def ready(self, line: Line) -> None:
        """Use a new connection."""
        self._lines.add(line)
        self._most = max(self._most, len(self._lines))
        self._free.append(line)
        self._send_due()

    def answered(self, line: Line, status: int) -> None:
        """Note an answer, and use the connection again."""
        now = time.monotonic()
        self._found.setdefault(status, []).append((line.sent_at - self._began, (now - line.sent_at) * 1000))
        self._under_way.discard(line)
        self._free.append(line)
        if self._due:
            self._send_due()
        elif not self._under_way:
            self._is_over.set()

    def lost(self, line: Line) -> None:
        """Note a connection that was closed."""
        self._lines.discard(line)
        if line in self._free:
            self._free.remove(line)
        if line in self._under_way:
            self._under_way.discard(line)
            self._lost += 1


def _answers(found: list[tuple[float, float]], seconds: float) -> Answers:
    every = [latency for _, latency in found]
    by_second: list[list[float]] = [[] for _ in range(int(seconds) + 1)]
    for at, latency in found:
        by_second[min(int(at), int(seconds))].append(latency)
    return Answers(
        count=len(every),
        p50=percentile(every, 0.5),
        p99=percentile(every, 0.99),
        longest=max(every),
        p99_by_second=[percentile(each, 0.99) for each in by_second],
    )


def flood(plan: FloodPlan, directory: Path) -> FloodResult:
    """Run the generator as a process of its own, and return its result."""
    words = ("-m", "tests.benchmarks.load.flood", msgspec.json.encode(plan).decode())
    return msgspec.json.decode(command_output(directory, *words), type=FloodResult)


def main() -> None:
    """Run the plan that the command line has."""
    plan = msgspec.json.decode(sys.argv[1].encode(), type=FloodPlan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(Flood(plan).run())
    sys.stdout.write(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
