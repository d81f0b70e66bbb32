"""The HTTP client of the payment gateway.

Two operations, `pay` and `inquire`, each one HTTP call. However a call ends, it ends as data (`processors.outcomes`)
and within one deadline over the whole of it, from opening the connection to the last byte of the body, whatever drips;
only cancellation passes through. Of a body no more is read than `answer_bytes_max`.

It is `httpx` over aiohttp's connections, without `httpx.AsyncClient` around them: that one is good for redirects,
cookies, proxies of the environment and other things that must not happen here, and costs as much again as the call.
Two things about the connections matter. The transport names nearly every failed
connection `ConnectTimeout`, also one that was closed after the gateway had read the request, so httpx's exceptions do
not tell whether something was sent: the exception below them does, and only the causes in `NEVER_SENT_ERRNOS` count.
And aiohttp sends a `GET` again by itself when a kept connection turns out to be closed, but never a `POST`.

What comes in on a kept connection while nobody asks is an answer to nothing, and aiohttp would hand it to whoever asks
next: one payment's approval to another. Such a connection is not used again. What comes in at the very moment of the
next call cannot be told from its answer, unless it names its payment, as answers should (`outcomes`).
"""

import asyncio
import errno
import hashlib
import re
import select
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self, cast

import aiohttp
import httpx
import msgspec
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport
from msgspec import Raw, Struct

from ledger.events import PaymentKind
from ledger.money import decimal_text
from processors.outcomes import GatewayAnswer, Heard, InquiryAnswer, inquiry_outcome_of, outcome_of

ANSWER_BYTES_MAX: Final = 64 * 1024
RETRY_AFTER_SECONDS_MAX: Final = 3600.0
KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than the 5 seconds after which many servers close an idle connection: who closes first meets no race."""

NEVER_SENT_ERRNOS: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ETIMEDOUT,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""Why a connection could not be made, for certain. A reset is not among them: it can come in the middle of TLS."""


class PayCall(Struct, frozen=True, kw_only=True):
    """What `pay` asks of the gateway. `gateway_key` is the series' key, `traceparent` the W3C trace context."""

    payment_id: int
    user_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    gateway_key: str
    traceparent: str | None = None


class _PayBody(Struct, frozen=True, kw_only=True):
    payment_id: int
    user_id: int
    amount: Raw
    commission: Raw
    type: PaymentKind


class Gateway:
    """A client of one gateway, for as many calls at once as `connections_max`; an async context manager.

    `/pay` and `/payments/{id}` are added to `base_url`; a user and password in it are sent as basic authentication.
    Raises ValueError when it is no http(s) URL or has a query.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        connections_max: int = 64,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        base, authorization = _base_and_authorization(base_url)
        self._base = base
        self._timeout_seconds = timeout_seconds
        self._answer_bytes_max = answer_bytes_max
        self._wall_clock = wall_clock
        self._pay_url = httpx.URL(f"{base}/pay")
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "payment-ledger"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._transport = _transport(connections_max)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the kept connections. Calls under way are the caller's to cancel."""
        await self._transport.aclose()

    async def pay(self, call: PayCall) -> GatewayAnswer:
        """Ask the gateway to move the money of a payment, once for each gateway key."""
        headers = {**self._headers_of(call.gateway_key, call.traceparent), "Content-Type": "application/json"}
        body = _PayBody(
            payment_id=call.payment_id,
            user_id=call.user_id,
            amount=Raw(decimal_text(call.amount_minor, currency=call.currency).encode()),
            commission=Raw(decimal_text(call.fee_minor, currency=call.currency).encode()),
            type=call.kind,
        )
        heard = await self._hear(
            httpx.Request("POST", self._pay_url, headers=headers, content=msgspec.json.encode(body))
        )
        return GatewayAnswer(
            outcome=outcome_of(heard, payment_id=call.payment_id),
            http_status=heard.http_status,
            answer_digest=heard.answer_digest,
            elapsed_ms=heard.elapsed_ms,
        )

    async def inquire(self, payment_id: int, gateway_key: str, *, traceparent: str | None = None) -> InquiryAnswer:
        """Ask the gateway what became of a payment under the key of one series."""
        headers = self._headers_of(gateway_key, traceparent)
        heard = await self._hear(httpx.Request("GET", f"{self._base}/payments/{payment_id}", headers=headers))
        return InquiryAnswer(
            outcome=inquiry_outcome_of(heard, payment_id=payment_id),
            http_status=heard.http_status,
            answer_digest=heard.answer_digest,
            elapsed_ms=heard.elapsed_ms,
        )

    def _headers_of(self, gateway_key: str, traceparent: str | None) -> dict[str, str]:
        headers = {**self._headers, "Idempotency-Key": gateway_key}
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return headers

    async def _hear(self, request: httpx.Request) -> Heard:
        """Make one call and take down what came back, however it ended."""
        listening = _Listening(self._answer_bytes_max)
        lost: str | None = None
        never_sent = False
        started = time.monotonic()
        deadline = asyncio.timeout(self._timeout_seconds)
        try:
            async with deadline, aclosing(await self._transport.handle_async_request(request)) as response:
                await listening.listen(response)
        except Exception as error:  # noqa: BLE001  whatever a library raises for a bad answer, the call is over
            never_sent = surely_never_sent(error)
            lost = "timeout" if deadline.expired() else _word_for(error)
        return Heard(
            elapsed_ms=round((time.monotonic() - started) * 1000),
            http_status=listening.http_status,
            body=listening.body,
            answer_digest=listening.digest,
            retry_after_seconds=retry_after_seconds(listening.headers, now=self._wall_clock()),
            lost=lost,
            never_sent=never_sent,
        )


class _Connector(aiohttp.TCPConnector):
    """Keeps connections for the next call, but uses none on which something has come in since the last one."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if _is_quiet(kept):
                return kept
            kept.close()
        return None


class _Listening:
    """What has been heard so far, so that a call cut short still leaves its status and the digest of its bytes."""

    def __init__(self, bytes_max: int) -> None:
        self.http_status: int | None = None
        self.headers: Mapping[str, str] = {}
        self._bytes_max = bytes_max
        self._bytes = bytearray()
        self._too_large = False

    async def listen(self, response: httpx.Response) -> None:
        """Read a response to its end, or to the byte at which it becomes too large."""
        self.http_status, self.headers = response.status_code, response.headers
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                self._bytes += chunk[: self._bytes_max + 1 - len(self._bytes)]
                if len(self._bytes) > self._bytes_max:
                    self._too_large = True
                    return

    @property
    def body(self) -> bytes | None:
        return None if self._too_large else bytes(self._bytes)

    @property
    def digest(self) -> str | None:
        return None if self.http_status is None else hashlib.sha256(self._bytes).hexdigest()


def surely_never_sent(error: BaseException) -> bool:
    """Tell whether a call failed before one byte of its request can have reached the gateway.

    aiohttp raises exactly these two classes while it opens a connection, and not afterwards. Attempts at several
    addresses that failed in different ways come as one plain OSError without a number.
    """
    match error.__cause__:
        case aiohttp.ClientConnectorDNSError():
            return True
        case aiohttp.ClientConnectorError(os_error=os_error) as cause if type(cause) is aiohttp.ClientConnectorError:
            several_addresses = type(os_error) is OSError and os_error.errno is None
            return several_addresses or os_error.errno in NEVER_SENT_ERRNOS
        case _:
            return False


def _is_quiet(kept: Connection) -> bool:
    """Tell whether nothing has come in on a kept connection: no answer to nothing, and no end of the connection.

    The protocol knows what the event loop has read, and the socket what is still to be read.
    """
    protocol, transport = kept.protocol, kept.transport
    if protocol is None or transport is None or protocol.should_close:
        return False
    looking = select.poll()
    looking.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not looking.poll(0)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read `Retry-After`, in seconds or as a date, into a wait up to RETRY_AFTER_SECONDS_MAX; None if unreadable.

    A date counts from the answer's own `Date` where there is one, so that a wrong clock here does no harm.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch("[0-9]+", text):
        return RETRY_AFTER_SECONDS_MAX if len(text) > len("3600") else min(float(text), RETRY_AFTER_SECONDS_MAX)
    until = _http_date(text)
    if until is None:
        return None
    since = _http_date(headers.get("date", "")) or now
    return min(max((until - since).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _http_date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _word_for(error: Exception) -> str:
    """Give the short word under which a failed call stands in the history."""
    match error.__cause__ or error:
        case aiohttp.ClientConnectorDNSError():
            return "name_not_resolved"
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return "tls_failed"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "connection_refused"
        case aiohttp.ClientConnectorError(os_error=ConnectionResetError()):
            return "connection_lost"
        case aiohttp.ClientConnectorError():
            return "connection_failed"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return "connection_lost"
        case _:
            return "protocol_error"


def _base_and_authorization(base_url: str) -> tuple[str, str | None]:
    """Take the user and password out of a URL, as what the `Authorization` header says instead."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"the gateway's URL cannot be read: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("the gateway's URL must be like http://host:port/path")
    if url.query or url.fragment:
        raise ValueError("the gateway's URL must end before any ? or #, since paths are added to it")
    basic = b64encode(f"{url.username}:{url.password}".encode()).decode()
    return str(url.copy_with(userinfo=b"")).rstrip("/"), f"Basic {basic}" if url.userinfo else None


def _transport(connections_max: int) -> AiohttpTransport:
    """Make the transport with a session of ours, made in the event loop at the first call; its own keeps cookies."""
    limits = httpx.Limits(max_connections=connections_max, keepalive_expiry=KEEP_ALIVE_SECONDS)
    transport = AiohttpTransport(trust_env=False, limits=limits)

    def open_session() -> aiohttp.ClientSession:
        connector = _Connector(limit=connections_max, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=transport.ssl_context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    transport.client = open_session
    return transport
