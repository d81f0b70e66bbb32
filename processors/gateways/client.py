"""The HTTP client of the payment gateway.

It has two operations, `pay` and `inquire`, each one HTTP call. Every call returns data (`outcomes`), whether it
succeeds or fails, within one deadline from opening the connection to the last byte of the body, however slowly the
bytes come. Only cancellation raises. The client reads at most `answer_bytes_max` bytes of a body.

The client is `httpx` on aiohttp's connections, without `httpx.AsyncClient`. That class adds redirects, cookies and
proxies from the environment, which must not happen here, and costs as much again as the call.

Two properties of the connections matter. First, the transport raises `ConnectTimeout` for nearly every failed
connection, even one that the gateway closed after it had read the request. So httpx's exceptions do not show whether
the request was sent. The exception's cause does, and only the causes in `NEVER_SENT_ERRNOS` count as not sent. Second,
aiohttp repeats a `GET` by itself when a kept connection turns out to be closed, but never a `POST`.

Bytes that arrive on an idle kept connection answer no call, and aiohttp would return them for the next call: one
payment's approval for another payment. Such a connection is not used again. Bytes that arrive just as the next call
starts cannot be distinguished from its answer, unless the answer names its payment, as answers should (`outcomes`).
"""

import asyncio
import errno
import hashlib
import re
import select
import ssl
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

from ledger.domain.events import PaymentFacts
from ledger.domain.kinds import PaymentKind
from ledger.domain.money import decimal_text
from processors.gateways.outcomes import CallResult, GatewayAnswer, InquiryAnswer, inquiry_outcome_of, outcome_of

ANSWER_BYTES_MAX: Final = 64 * 1024
RETRY_AFTER_SECONDS_MAX: Final = 3600.0
KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than the 5 seconds after which many servers close an idle connection, so that no call races with a close."""

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
"""Errors after which the connection was certainly not made. A reset is not one of them: it may come during TLS."""


class PayCall(PaymentFacts, frozen=True, kw_only=True):
    """The request of `pay`. `gateway_key` is the key of the series, `traceparent` the W3C trace context."""

    gateway_key: str
    traceparent: str | None = None


class _PayBody(Struct, frozen=True, kw_only=True):
    payment_id: int
    user_id: int
    amount: Raw
    commission: Raw
    type: PaymentKind
    currency: str


class Gateway:
    """A client of one gateway, for up to `connections_max` concurrent calls; an async context manager.

    The client adds `/pay` and `/payments/{id}` to `base_url`, and sends a user and password in it as basic
    authentication. `tls` verifies the gateway, by default by the public authorities. Raises ValueError when `base_url`
    is not an http(s) URL or has a query.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        connections_max: int = 64,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        tls: ssl.SSLContext | None = None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        base, authorization = _base_and_authorization(base_url)
        self._base = base
        self.timeout_seconds = timeout_seconds
        self._answer_bytes_max = answer_bytes_max
        self._wall_clock = wall_clock
        self._pay_url = httpx.URL(f"{base}/pay")
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "payment-ledger"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._transport = _transport(connections_max, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the kept connections. The caller must cancel running calls itself."""
        await self._transport.aclose()

    async def pay(self, call: PayCall) -> GatewayAnswer:
        """Ask the gateway to move the money of a payment; a gateway moves it once for each gateway key."""
        headers = {**self._headers_of(call.gateway_key, call.traceparent), "Content-Type": "application/json"}
        body = _PayBody(
            payment_id=call.payment_id,
            user_id=call.account_id,
            amount=Raw(decimal_text(call.amount_minor, currency=call.currency).encode()),
            commission=Raw(decimal_text(call.fee_minor, currency=call.currency).encode()),
            type=call.kind,
            currency=call.currency,
        )
        result = await self._call(
            httpx.Request("POST", self._pay_url, headers=headers, content=msgspec.json.encode(body))
        )
        return GatewayAnswer(
            outcome=outcome_of(result, payment_id=call.payment_id),
            http_status=result.http_status,
            answer_digest=result.answer_digest,
            elapsed_ms=result.elapsed_ms,
        )

    async def inquire(self, payment_id: int, gateway_key: str, *, traceparent: str | None = None) -> InquiryAnswer:
        """Ask the gateway for the outcome of a payment under the key of one series."""
        headers = self._headers_of(gateway_key, traceparent)
        result = await self._call(httpx.Request("GET", f"{self._base}/payments/{payment_id}", headers=headers))
        return InquiryAnswer(
            outcome=inquiry_outcome_of(result, payment_id=payment_id),
            http_status=result.http_status,
            answer_digest=result.answer_digest,
            elapsed_ms=result.elapsed_ms,
        )

    def _headers_of(self, gateway_key: str, traceparent: str | None) -> dict[str, str]:
        headers = {**self._headers, "Idempotency-Key": gateway_key}
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return headers

    async def _call(self, request: httpx.Request) -> CallResult:
        """Make one call and return its result, whether it succeeded or failed."""
        reader = _ResponseReader(self._answer_bytes_max)
        lost: str | None = None
        never_sent = False
        started = time.monotonic()
        deadline = asyncio.timeout(self.timeout_seconds)
        try:
            async with deadline, aclosing(await self._transport.handle_async_request(request)) as response:
                await reader.read(response)
        except Exception as error:  # noqa: BLE001  any error of a library ends the call, and is recorded
            never_sent = surely_never_sent(error)
            lost = "timeout" if deadline.expired() else _word_for(error)
        return CallResult(
            elapsed_ms=round((time.monotonic() - started) * 1000),
            http_status=reader.http_status,
            body=reader.body,
            answer_digest=reader.digest,
            retry_after_seconds=retry_after_seconds(reader.headers, now=self._wall_clock()),
            lost=lost,
            never_sent=never_sent,
        )


class _Connector(aiohttp.TCPConnector):
    """Keeps connections for later calls, and closes a kept connection on which bytes arrived since its last call."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if _is_quiet(kept):
                return kept
            kept.close()
        return None


class _ResponseReader:
    """Reads a response and keeps all that was read, so that an interrupted call still has its status and digest."""

    def __init__(self, bytes_max: int) -> None:
        self.http_status: int | None = None
        self.headers: Mapping[str, str] = {}
        self._bytes_max = bytes_max
        self._bytes = bytearray()
        self._too_large = False

    async def read(self, response: httpx.Response) -> None:
        """Read a response to its end, or up to the first byte beyond the limit."""
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
    """Tell whether a call failed before any byte of its request can have reached the gateway.

    aiohttp raises exactly these classes while it opens a connection, and never afterwards. When it tried several
    addresses and they failed in different ways, it raises one plain OSError without a number. A certificate that does
    not verify ends the handshake on our side, before the request. Other failures of TLS prove nothing.
    """
    match error.__cause__:
        case aiohttp.ClientConnectorDNSError() | aiohttp.ClientConnectorCertificateError():
            return True
        case aiohttp.ClientConnectorError(os_error=os_error) as cause if type(cause) is aiohttp.ClientConnectorError:
            several_addresses = type(os_error) is OSError and os_error.errno is None
            return several_addresses or os_error.errno in NEVER_SENT_ERRNOS
        case _:
            return False


def _is_quiet(kept: Connection) -> bool:
    """Tell whether a kept connection has received nothing since its last call, neither bytes nor its end.

    The protocol knows what the event loop has already read; polling the socket shows what it has not read yet.
    """
    protocol, transport = kept.protocol, kept.transport
    if protocol is None or transport is None or protocol.should_close:
        return False
    poller = select.poll()
    poller.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not poller.poll(0)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Parse `Retry-After`, seconds or a date, into a wait of up to RETRY_AFTER_SECONDS_MAX; None if unreadable.

    A date counts from the answer's own `Date` header if it has one, so that a wrong clock here does no harm.
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
    """Return the short word for a failed call that the payment's history records."""
    match error.__cause__ or error:
        case aiohttp.ClientConnectorDNSError():
            return "name_not_resolved"
        case aiohttp.ClientConnectorCertificateError():
            return "certificate_not_verified"
        case aiohttp.ClientSSLError():
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
    """Split a URL into the URL without user and password, and the `Authorization` header that replaces them."""
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


def _transport(connections_max: int, tls: ssl.SSLContext | None) -> AiohttpTransport:
    """Make the transport with our own session, which the first call opens; the default session would keep cookies."""
    limits = httpx.Limits(max_connections=connections_max, keepalive_expiry=KEEP_ALIVE_SECONDS)
    transport = AiohttpTransport(verify=True if tls is None else tls, trust_env=False, limits=limits)

    def open_session() -> aiohttp.ClientSession:
        connector = _Connector(limit=connections_max, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=transport.ssl_context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    transport.client = open_session
    return transport
