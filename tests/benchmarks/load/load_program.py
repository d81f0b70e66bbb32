"""A load generator of our own: keep-alive connections with one open request each, on uvloop, with prebuilt bytes.

It reads a `Plan` from standard input, prints when the measured time begins and ends, waits for all open requests, and
prints a `Load`. It keeps one latency per request, so its memory is bounded by their number. It has three modes:

* each connection sends its next request once it has its answer;
* the same, as long as fewer than `backlog_max` payments wait to be settled, by the service's own metrics;
* a steady rate, independent of answers; latency then counts from the time when a request was due, so that a stall of
  the service counts for all requests that were due in it.
"""

import asyncio
import json
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final, cast

import msgspec
import uvloop

from tests.benchmarks.load.traffic import get_request, requests
from tests.benchmarks.load.wrk import SELF, Plan
from tests.benchmarks.measuring.measures import Load, percentile

ASK_SECONDS: Final = 0.05
"""How often the service's metrics are read to count settled payments."""

FOLLOW_SECONDS: Final = 0.004
"""How often a followed payment is read. Its measured time may be too long by this much."""

TICK_SECONDS: Final = 0.01
DRAIN_SECONDS_MAX: Final = 60.0
METRICS: Final = get_request("/api/v1/metrics")

Answered = Callable[[int, bytes, float], None]
"""Called with status, body, and the latency in seconds."""


class Connection(asyncio.Protocol):
    """A connection with at most one open request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: Answered | None = None
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the same methods

    def connection_lost(self, exc: Exception | None) -> None:
        """End the open request, which will get no other answer."""
        del exc
        self._transport = None
        if self._answered is not None:
            self._end(0, b"")

    def send(self, data: bytes, answered: Answered, *, since: float) -> None:
        """Send a request. `since` is the start of its latency, in seconds of the monotonic clock."""
        self._answered, self._since = answered, since
        if self._transport is None:
            self._end(0, b"")
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Receive a part of an answer."""
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._received[:head_end]).lower()
        found = head.find(b"content-length:")
        if found < 0:
            raise ValueError("an answer without Content-Length")
        length = int(head[found + 15 :].split(b"\r\n", 1)[0])
        if len(self._received) >= head_end + 4 + length:
            body = bytes(self._received[head_end + 4 :])
            self._received.clear()
            self._end(int(head[9:12]), body)

    def _end(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        assert answered is not None, "an answer to nothing"
        answered(status, body, time.monotonic() - self._since)


class Generator:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._made: Iterator[bytes] = requests(plan.traffic)
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._under_way = 0
        self._accepted = 0
        self._settled = 0
        self._settled_before = -1
        self._counts = False
        self._ending = False
        self._failures = 0
        self._latencies = array("d")
        self._lags: list[float] = []
        self._readable: list[float] = []
        self._following: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._enough = asyncio.Event()

    async def run(self) -> Load:
        """Warm up, measure, and wait for all open requests."""
        connections = [await self._connect() for _ in range(self._plan.connections)]
        self._free.extend(connections)
        watching = [asyncio.create_task(self._tick())]
        if self._plan.backlog_max:
            watching.append(asyncio.create_task(self._ask(await self._connect())))
        if self._plan.rate:
            watching.append(asyncio.create_task(self._pace()))
        self._send_what_may_be()
        await asyncio.sleep(self._plan.warm_up_seconds)
        began, cpu = self._measure()
        if self._plan.payments:
            await self._enough.wait()
        else:
            await asyncio.sleep(self._plan.seconds)
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        self._counts, self._ending = False, True
        _say("measured")
        await self._drain()
        for each in watching:
            each.cancel()
        for connection in connections:
            connection.close()
        return self._load(seconds, cpu_seconds)

    def _measure(self) -> tuple[float, float]:
        self._counts = True
        self._lags.clear()
        _say("measuring")
        return time.monotonic(), time.process_time()

    def _load(self, seconds: float, cpu_seconds: float) -> Load:
        milliseconds = [1000 * value for value in self._latencies]
        return Load(
            program=SELF,
            requests=len(milliseconds),
            failures=self._failures,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            latency_ms_p50=percentile(milliseconds, 0.5),
            latency_ms_p99=percentile(milliseconds, 0.99),
            latency_ms_max=max(milliseconds, default=0.0),
            payments=self._accepted * self._plan.traffic.payments_a_request,
            lag_ms=1000 * median(self._lags or [0.0]),
            readable_ms=[1000 * value for value in self._readable],
        )

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._plan.port)
        return connection

    # --- sending ---

    def _send_what_may_be(self) -> None:
        """Send as many requests as free connections and the plan allow."""
        while self._free and not self._ending and self._may_send():
            since = self._due.popleft() if self._plan.rate else time.monotonic()
            self._send(self._free.popleft(), since)

    def _may_send(self) -> bool:
        if self._plan.rate:
            return bool(self._due)
        if self._plan.backlog_max:
            return self._accepted + self._under_way - self._settled < self._plan.backlog_max
        return True

    def _send(self, connection: Connection, since: float) -> None:
        counts = self._counts
        self._under_way += 1

        def answered(status: int, body: bytes, latency: float) -> None:
            self._under_way -= 1
            self._free.append(connection)
            self._take(status, body, latency, since=since, counts=counts)
            self._send_what_may_be()
            if self._ending and not self._under_way:
                self._idle.set()

        connection.send(next(self._made), answered, since=since)

    def _take(self, status: int, body: bytes, latency: float, *, since: float, counts: bool) -> None:
        if not 200 <= status < 300:
            if not self._failures:
                sys.stderr.write(f"answered {status}: {body[:500]!r}\n")
            self._failures += 1
            if status == 0:
                self._ending = True  # the service is gone, so asking again would only loop
                self._enough.set()
            return
        self._accepted += 1
        if self._accepted == self._plan.payments:
            self._enough.set()
        if counts:
            self._latencies.append(latency)
            if self._plan.follow_every and self._accepted % self._plan.follow_every == 0:
                following = asyncio.create_task(self._follow(json.loads(body)["payment_id"], since))
                self._following.add(following)
                following.add_done_callback(self._following.discard)

    async def _pace(self) -> None:
        """Let requests fall due at the plan's rate."""
        start, count = time.monotonic(), 0
        while not self._ending:
            now = time.monotonic()
            while start + count / self._plan.rate <= now:
                self._due.append(start + count / self._plan.rate)
                count += 1
            self._send_what_may_be()
            await asyncio.sleep(max(0.0, start + count / self._plan.rate - time.monotonic()))

    # --- polling ---

    async def _ask(self, connection: Connection) -> None:
        """Ask the service how many payments have ended, as its clients read it."""
        while True:
            body = await _read(connection, METRICS)
            counted = json.loads(body)
            settled = counted["payments_success_total"] + counted["payments_failed_total"]
            if self._settled_before < 0:
                self._settled_before = settled
            self._settled = settled - self._settled_before
            self._send_what_may_be()
            await asyncio.sleep(ASK_SECONDS)

    async def _follow(self, payment_id: int, since: float) -> None:
        """Read a payment until it has succeeded."""
        connection = await self._connect()
        asked = get_request(f"/api/v1/payments/{payment_id}")
        while json.loads(await _read(connection, asked))["status"] != "success":  # noqa: ASYNC110 - it polls the service
            await asyncio.sleep(FOLLOW_SECONDS)
        self._readable.append(time.monotonic() - since)
        connection.close()

    async def _tick(self) -> None:
        """Measure the delay of this loop."""
        while True:
            wanted = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._lags.append(time.monotonic() - wanted)

    async def _drain(self) -> None:
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            if self._under_way:
                await self._idle.wait()
            if self._following:
                await asyncio.gather(*self._following)


async def _read(connection: Connection, data: bytes) -> bytes:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(status: int, body: bytes, _latency: float) -> None:
        if answer.done():  # the caller may have been cancelled
            return
        if status == 200:
            answer.set_result(body)
        else:
            answer.set_exception(RuntimeError(f"answered {status}: {body[:500]!r}"))

    connection.send(data, answered, since=0.0)
    return await answer


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the plan from standard input."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load: Any = runner.run(_generated(plan))
    _say(msgspec.json.encode(load).decode())


async def _generated(plan: Plan) -> Load:
    return await Generator(plan).run()


if __name__ == "__main__":
    main()
