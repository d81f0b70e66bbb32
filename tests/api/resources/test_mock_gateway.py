"""The demo gateway behind the API: calls are forwarded with their key, and answers are returned unchanged."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from api.settings import Settings
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

PAYMENT = {"payment_id": 1, "user_id": 1, "amount": "9000.01", "commission": 4, "type": "deposit"}


class Gateway:
    """A real server that records each request and sends a given answer."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + b'{"status":"ok"}'
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:")), 0)
        self.requests.append(head + (await reader.readexactly(length)).decode())
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Serve at the demo gateway's address."""
    gateway = Gateway()
    async with await asyncio.start_server(gateway.serve, "127.0.0.1", settings.demo_gateway_port):
        yield gateway


@pytest.fixture
def settings() -> Settings:
    """Place the demo gateway at a port of our own."""
    return Settings.load({"DEMO_GATEWAY_PORT": str(free_port())})


async def test_a_call_is_forwarded_with_its_key_and_body(client: httpx.AsyncClient, gateway: Gateway) -> None:
    """The body is forwarded byte for byte."""
    body = b'{"payment_id": 1, "user_id": 1, "amount": 9000.010, "commission": "4", "type": "deposit"}'

    answer = await client.post(
        "/api/v1/mock-gateway/pay",
        content=body,
        headers={"Idempotency-Key": "payment-1", "Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    (request,) = gateway.requests
    assert request.startswith("POST /pay HTTP/1.1")
    assert "idempotency-key: payment-1" in request.lower()
    assert request.endswith(body.decode())


async def test_an_inquiry_is_forwarded(client: httpx.AsyncClient, gateway: Gateway) -> None:
    """Its key is forwarded too."""
    answer = await client.get("/api/v1/mock-gateway/payments/7", headers={"Idempotency-Key": "payment-7"})

    assert answer.status_code == 200
    assert gateway.requests[0].startswith("GET /payments/7 HTTP/1.1")
    assert "idempotency-key: payment-7" in gateway.requests[0].lower()


async def test_the_book_is_forwarded_page_by_page(client: httpx.AsyncClient, gateway: Gateway) -> None:
    """Only the page's parameters are forwarded, and no other part of the address."""
    await client.get("/api/v1/mock-gateway/effects?after=5")
    await client.get("/api/v1/mock-gateway/effects?limit=1000")

    assert [request.splitlines()[0] for request in gateway.requests] == [
        "GET /effects?after=5&limit=100 HTTP/1.1",
        "GET /effects?after=0&limit=1000 HTTP/1.1",
    ]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=9007199254740992", "limit=0", "limit=1001", "limit=many", "x=%0d%0aX:y"]
)
async def test_a_malformed_page_request_is_not_forwarded(
    client: httpx.AsyncClient, gateway: Gateway, query: str
) -> None:
    """The API itself refuses it."""
    answer = await client.get(f"/api/v1/mock-gateway/effects?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert gateway.requests == []


@pytest.mark.parametrize("status", [402, 429, 502])
async def test_a_gateways_errors_are_its_own(client: httpx.AsyncClient, gateway: Gateway, status: int) -> None:
    """Status, type and Retry-After are forwarded. They are not problem documents."""
    gateway.answer = f"HTTP/1.1 {status} x\r\nRetry-After: 3\r\nContent-Type: text/plain\r\n\r\nno".encode()

    answer = await client.post("/api/v1/mock-gateway/pay", json=PAYMENT)

    assert (answer.status_code, answer.text) == (status, "no")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_048_577,
    ],
)
async def test_an_answer_that_cannot_be_forwarded_is_503(
    client: httpx.AsyncClient, gateway: Gateway, answer: bytes
) -> None:
    """The answer is empty, garbage, incomplete, or too large."""
    gateway.answer = answer

    refused = await client.post("/api/v1/mock-gateway/pay", json=PAYMENT)

    assert (refused.status_code, refused.json()["code"]) == (503, "demo_gateway_unavailable")


async def test_a_gateway_that_does_not_run_is_503(client: httpx.AsyncClient) -> None:
    """The problem says how to start it."""
    answer = await client.get("/api/v1/mock-gateway/effects")

    assert (answer.status_code, answer.json()["code"]) == (503, "demo_gateway_unavailable")
    assert "payment-ledger gateway" in answer.json()["detail"]


@pytest.mark.parametrize("changed", [{"payment_id": 0}, {"type": "gift"}, {"user_id": None}])
async def test_a_malformed_call_is_not_forwarded(
    client: httpx.AsyncClient, gateway: Gateway, changed: dict[str, object]
) -> None:
    """The API itself refuses it."""
    answer = await client.post("/api/v1/mock-gateway/pay", json={**PAYMENT, **changed})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert gateway.requests == []


@pytest.mark.parametrize("key", [b"caf\xc3\xa9", b"a" * 256, b"tab\there"])
async def test_a_malformed_key_is_not_forwarded(client: httpx.AsyncClient, gateway: Gateway, key: bytes) -> None:
    """The API itself refuses it, as on other routes."""
    headers = [(b"Idempotency-Key", key)]

    paid = await client.post("/api/v1/mock-gateway/pay", json=PAYMENT, headers=headers)
    asked = await client.get("/api/v1/mock-gateway/payments/1", headers=headers)

    for answer in (paid, asked):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")
    assert gateway.requests == []
