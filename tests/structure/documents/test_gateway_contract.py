"""The gateway contract's page shows the calls as they are made, and the settings of hooks as they are."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

import pytest

from processors.gateways.client import Gateway, PayCall
from processors.gateways.outcomes import Approved
from tests.support.documents import CHECKOUT, blocks

PAGE: Final = (CHECKOUT / "docs/reference/gateway-contract.md").read_text("utf-8")
ANSWER: Final = next(block.text for block in blocks(PAGE) if block.language == "json").encode()

pytestmark = pytest.mark.anyio


def shown() -> list[str]:
    """The calls that the page shows, as one text each: first line, headers by name, body."""
    return [as_text(*block.text.partition("\n\n")[::2]) for block in blocks(PAGE) if block.language == "http"]


def as_text(head: str, body: str) -> str:
    first, *headers = head.replace("{base}", "").strip().split("\n")
    return "\n".join([first, *sorted(headers, key=str.lower), body.strip()]).lower()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A gateway that writes down what it is sent; its address, and what it has written."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            of_http = {"host", "content-length", "connection"}
            headers = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in of_http]
            heard.append(as_text("\n".join([f"{self.command} {self.path}", *headers]), body))
            self.send_response(200)
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - (as above)
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_the_calls_are_those_of_the_page() -> None:
    """People who build a gateway see exactly this, and the answer of the page is an approval."""
    with listening() as (url, heard):
        async with Gateway(url, timeout_seconds=10) as gateway:
            answer = await gateway.pay(
                PayCall(
                    payment_id=1025,
                    account_id=1,
                    kind="withdraw",
                    amount_minor=5000,
                    fee_minor=100,
                    currency="USD",
                    gateway_key="payment-1025_5d41402abc4b2a76",
                )
            )
            await gateway.inquire(1025, "payment-1025_5d41402abc4b2a76")

    assert shown() == heard
    assert answer.outcome == Approved("gw-7781")


def test_hooks_fetch_nothing() -> None:
    """Each is local and runs a tool of .venv."""
    text = (CHECKOUT / ".pre-commit-config.yaml").read_text("utf-8")

    assert re.findall(r"repo: (.*)", text) == ["local"]
    entries = re.findall(r"entry: (.*)", text)
    assert len(entries) == len(re.findall(r"- id: ", text)) >= 3
    assert [entry for entry in entries if not entry.startswith(".venv/bin/python -m ")] == []
    assert "http" not in text
