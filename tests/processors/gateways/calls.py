"""A call, a good answer and both event loops, for the tests of the gateway client."""

import pytest

from processors.gateways.client import PayCall

OK = b'{"status":"ok","reference":"gw-1"}'
HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status":"ok"'
CALL = PayCall(
    payment_id=1025,
    account_id=7,
    kind="deposit",
    amount_minor=20000,
    fee_minor=400,
    currency="USD",
    gateway_key="payment-1025",
)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both event loops, because they report a broken connection in different ways."""
    return "asyncio", {"use_uvloop": request.param}
