"""A gateway that answers at once, in a process of its own, so that a benchmark measures the ledger and not the gateway.

    POST /pay             moves the money once for each Idempotency-Key, and answers ok
    GET /payments/{id}    says whether the money moved: ok, or 404 not_found
    GET /book             the number of effects, and their sums in hundredths, for the benchmark's verification

It can also err and time out, as the demo gateway does. A share of calls is answered with 502, which moves nothing.
Another share is answered later than any caller waits; half of these have moved the money. Inquiries are answered with
the truth.
"""

import asyncio
import hashlib
import json
import signal
import sys
from decimal import Decimal
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

MOVED_THOUGH_TIMED_OUT: Final = 0.5


class InstantProfile(Struct, frozen=True, kw_only=True):
    """Its behaviour: the shares of errors and of time-outs among calls, and how long a timed-out call hangs.

    Every other answer takes `delay_seconds`.
    """

    port: int = 0
    error_rate: float = 0.0
    timeout_rate: float = 0.0
    hang_seconds: float = 1.5
    delay_seconds: float = 0.0


class Effect(Struct, frozen=True):
    """Money that moved: the payment, its amount and its fee, in hundredths."""

    payment_id: int
    kind: str
    amount_minor: int
    commission_minor: int


class Book:
    """The gateway's record of its effects."""

    def __init__(self, profile: InstantProfile) -> None:
        self.profile = profile
        self.calls = 0
        self._effects: dict[str, Effect] = {}
        self._attempts: dict[str, int] = {}

    def pay(self, key: str, body: bytes) -> tuple[int, bytes, float]:
        """Decide about a call. Returns status, body, and the delay in seconds."""
        self.calls += 1
        asked = json.loads(body, parse_float=Decimal)
        if key not in self._effects:
            ending, moving = self._luck(key)
            profile = self.profile
            if ending < profile.timeout_rate:
                if moving < MOVED_THOUGH_TIMED_OUT:
                    self._move(key, asked)
                return 504, b'{"status":"late"}', profile.hang_seconds
            if ending < profile.timeout_rate + profile.error_rate:
                return 502, b'{"status":"error"}', profile.delay_seconds
            self._move(key, asked)
        return 200, b'{"status":"ok","payment_id":%d}' % asked["payment_id"], self.profile.delay_seconds

    def tell(self, key: str) -> tuple[int, bytes, float]:
        """Answer an inquiry about a key."""
        effect = self._effects.get(key)
        if effect is None:
            return 404, b'{"status":"not_found"}', self.profile.delay_seconds
        return 200, b'{"status":"ok","payment_id":%d}' % effect.payment_id, self.profile.delay_seconds

    def summary(self) -> bytes:
        """Count and sum up the effects."""
        kinds = {
            kind: [effect for effect in self._effects.values() if effect.kind == kind]
            for kind in ("deposit", "withdraw")
        }
        return json.dumps(
            {
                "calls": self.calls,
                "effects": len(self._effects),
                **{f"{kind}_minor": sum(effect.amount_minor for effect in found) for kind, found in kinds.items()},
                "commission_minor": sum(effect.commission_minor for effect in self._effects.values()),
            }
        ).encode()

    def _move(self, key: str, asked: dict[str, object]) -> None:
        amount, commission = (int(Decimal(str(asked[name])) * 100) for name in ("amount", "commission"))
        self._effects[key] = Effect(int(str(asked["payment_id"])), str(asked["type"]), amount, commission)

    def _luck(self, key: str) -> tuple[float, float]:
        """Two numbers from 0 to 1 that follow from the key and the number of its attempt."""
        if not self.profile.timeout_rate and not self.profile.error_rate:
            return 1.0, 1.0
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        drawn = hashlib.sha256(f"{attempt}:{key}".encode()).digest()
        return int.from_bytes(drawn[:8]) / 2**64, int.from_bytes(drawn[8:16]) / 2**64


class Connection(asyncio.Protocol):
    """A connection of a client that waits for each answer before its next request."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the same methods

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering."""
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request, and answer it once it is whole."""
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(headers.get(b"content-length", b"0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        method, path, _ = first.split(b" ", 2)
        status, body, seconds = self._answer(method, path, headers.get(b"idempotency-key", b"").decode(), rest[:length])
        answer = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._write, answer)
        else:
            self._write(answer)

    def _answer(self, method: bytes, path: bytes, key: str, body: bytes) -> tuple[int, bytes, float]:
        if method == b"POST" and path == b"/pay":
            return self._book.pay(key, body)
        if path.startswith(b"/payments/"):
            return self._book.tell(key)
        if path == b"/book":
            return 200, self._book.summary(), 0.0
        return 404, b"{}", 0.0

    def _write(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


async def _serve(profile: InstantProfile) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    book = Book(profile)
    server = await loop.create_server(lambda: Connection(book), "127.0.0.1", profile.port, backlog=1024)
    async with server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stopping.wait()


def main() -> None:
    """Serve until stopped, with the profile that the one argument gives as JSON."""
    profile = msgspec.json.decode(sys.argv[1], type=InstantProfile)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(profile))


if __name__ == "__main__":
    main()
