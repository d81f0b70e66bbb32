"""How the client writes requests to the gateway, and reads its answers."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from processors.gateways.client import Gateway, PayCall, retry_after_seconds
from processors.gateways.outcomes import Approved, Declined, NoClearAnswer, NotFound, Unknown
from tests.processors.gateways.calls import CALL, OK, anyio_backend
from tests.support.gateways.misbehaving import MisbehavingServer, answering, http, never_answering

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio


async def test_the_request_is_the_originals_with_key_and_trace() -> None:
    """The body has exact decimals, never floats, and a header carries the series' key."""
    call = PayCall(
        payment_id=1025,
        account_id=7,
        kind="withdraw",
        amount_minor=10**15,
        fee_minor=1,
        currency="USD",
        gateway_key="payment-1025-2",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url + "/api/", timeout_seconds=5) as gateway:
            await gateway.pay(call)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/pay HTTP/1.1"
    assert "idempotency-key: payment-1025-2" in lines
    assert "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" in lines
    assert "content-type: application/json" in lines
    assert body == (
        b'{"payment_id":1025,"user_id":7,"amount":10000000000000.00,"commission":0.01,'
        b'"type":"withdraw","currency":"USD"}'
    )
    assert json.loads(body, parse_float=Decimal)["amount"] == Decimal("10000000000000.00")


async def test_an_inquiry_asks_under_the_series_key() -> None:
    """The gateway is asked about a payment by its id, under the key of one series."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.inquire(1025, "payment-1025-2")

    assert server.requests[0].startswith(b"GET /payments/1025 HTTP/1.1\r\n")
    assert b"\r\nidempotency-key: payment-1025-2\r\n" in server.requests[0]
    assert Approved("gw-1") == answer.outcome


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (http("200 OK", b'{"status":"ok"}'), Approved(None)),
        (http("200 OK", b'{"status":"declined"}'), Declined("declined")),
        (http("404 X", b'{"status":"not_found"}'), NotFound()),
        (http("404 X"), NoClearAnswer("gateway_error_404")),
        (http("404 X", b'{"status":"declined"}'), NoClearAnswer("gateway_error_404")),
        (http("404 X", b'{"status":"ok"}'), NoClearAnswer("gateway_error_404")),
        (http("410 X", b'{"status":"not_found"}'), NoClearAnswer("gateway_error_410")),
        (http("200 OK", b'{"status":"not_found"}'), NoClearAnswer("answer_unreadable")),
        (http("200 OK", b'{"status":"pending"}'), NoClearAnswer("pending")),
        (http("200 OK", b'{"status":"timeout"}'), NoClearAnswer("timeout")),
        (http("200 OK", b" " * 70_000), NoClearAnswer("answer_too_large")),
        (http("429 X", b'{"status":"declined"}'), NoClearAnswer("gateway_error_429")),
        (http("500 X", b'{"status":"ok"}'), NoClearAnswer("gateway_error_500")),
    ],
)
async def test_only_unambiguous_answers_to_an_inquiry_are_clear(raw: bytes, outcome: object) -> None:
    """Only ok, declined, and a 404 that says not_found are clear answers to an inquiry."""
    with MisbehavingServer(answering(raw)) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.inquire(1, "payment-1")

    assert outcome == answer.outcome


async def test_a_redirect_is_not_followed() -> None:
    """A redirect could send money to another address, so it counts as an unknown outcome."""
    with MisbehavingServer(answering(http("307 X", b"", "Location: /elsewhere"))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Unknown("gateway_error_307") == answer.outcome
    assert len(server.requests) == 1


async def test_cookies_are_not_kept() -> None:
    """A cookie that the gateway sets is not sent back."""
    with MisbehavingServer(answering(http("200 OK", OK, "Set-Cookie: session=1; Path=/"))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            await gateway.pay(CALL)
            await gateway.pay(CALL)

    assert b"cookie" not in server.requests[1].lower()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment of a shell must not reroute money."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url, timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Approved("gw-1") == answer.outcome


async def test_user_and_password_of_the_url_are_sent_as_basic_authentication() -> None:
    """`http://user:password@host` works, and does not break every call."""
    with MisbehavingServer(answering(http("200 OK", OK))) as server:
        async with Gateway(server.url.replace("//", "//me:secret@"), timeout_seconds=5) as gateway:
            answer = await gateway.pay(CALL)

    assert Approved("gw-1") == answer.outcome
    assert b"\r\nauthorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8001", "ftp://host", "http://", "http://h/?a=1", "http://h/#x", "http://[::1"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    """A wrong setting is found at start, not by the first payment."""
    with pytest.raises(ValueError, match="the gateway's URL"):
        Gateway(url, timeout_seconds=1)


async def test_a_call_under_way_can_be_cancelled() -> None:
    """Cancellation is the only exception that a call raises."""
    with MisbehavingServer(never_answering) as server:
        async with Gateway(server.url, timeout_seconds=30) as gateway:
            call = asyncio.create_task(gateway.pay(CALL))
            await asyncio.to_thread(server.heard.wait, 10)
            call.cancel()

            with pytest.raises(asyncio.CancelledError):
                await call


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "9999"}, 3600.0),
        ({"retry-after": "9" * 5000}, 3600.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "7.5"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 8"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Monday, 23-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2099 12:00:00 GMT"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2300"}, None),
        ({"retry-after": "Mon, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:30 GMT", "date": "Mon, 23 Nov 2026 09:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT", "date": "yesterday"}, 30.0),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """A date counts from the answer's own date, else from our clock. A value that cannot be parsed is ignored."""
    assert seconds == retry_after_seconds(headers, now=NOW)
