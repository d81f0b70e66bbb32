"""A payment gateway that does as it is told: for each key a script says what to do and what to say, call by call.

It is honest in its way. Money moves once for each key, a key that money has moved under is never said to be declined,
and an inquiry that is answered with the truth is answered with the book; one that is held is, too, but only when it is
let go. But it may move money and hide that, break off, or claim not to know. What it did is in `moved`, what it said to
whom in `said`.
"""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Literal, Self

from tests.processors.misbehaving_server import Connection, MisbehavingServer, http

Saying = Literal["ok", "declined", "402", "429", "502", "pending", "garbage", "reset"]
Inquiring = Literal["truth", "held", "pending", "500", "404"]


@dataclass(frozen=True)
class Step:
    """What happens to one call: what the caller hears, and whether money moves; with "ok" it does."""

    says: Saying
    moves: bool = False


@dataclass(frozen=True)
class Script:
    """The steps for the calls under one key, the last of which goes on for ever, and what inquiries are told."""

    steps: Sequence[Step] = (Step("ok"),)
    inquiry: Inquiring = "truth"


@dataclass(frozen=True)
class Effect:
    """Money that moved."""

    payment_id: int
    user_id: int
    kind: str
    amount: Decimal
    commission: Decimal


@dataclass
class _Page:
    """What the gateway's book has under one key: what it is to do, what it did, and what it said to whom."""

    script: Script
    effect: Effect | None = None
    declined: bool = False
    calls: int = 0
    said: list[tuple[str, str]] = field(default_factory=list)


_ANSWERS: Final[dict[str, bytes]] = {
    "ok": http("200 OK", b'{"status": "ok"}'),
    "declined": http("200 OK", b'{"status": "declined"}'),
    "pending": http("200 OK", b'{"status": "pending"}'),
    "garbage": http("200 OK", b"\xff\xfe{"),
    "402": http("402 Payment Required", b'{"status": "declined"}'),
    "404": http("404 Not Found", b"nothing of that name"),
    "not_found": http("404 Not Found", b'{"status": "not_found"}'),
    "429": http("429 Too Many Requests", b"", "Retry-After: 0"),
    "500": http("500 Internal Server Error"),
    "502": http("502 Bad Gateway", b"<html>"),
}
"""What it says, as bytes. A word that is not here is said by resetting the connection."""


class SteeredGateway:
    """Listens on a port of its own for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self._server = MisbehavingServer(self._serve)
        self._pages: dict[str, _Page] = {}
        self._lock = threading.Lock()
        self._let_go = threading.Event()
        self.holding = threading.Event()
        self.unexpected: list[str] = []

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go.set()
        self._server.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        """Its base URL."""
        return self._server.url

    def expect(self, key: str, script: Script) -> None:
        """Say what is to happen under a key; what has happened under it stays."""
        with self._lock:
            if key in self._pages:
                self._pages[key].script = script
            else:
                self._pages[key] = _Page(script)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the inquiries under a key for the length of a block; `holding` is set when one has come."""
        self._let_go.clear()
        self.holding.clear()
        with self._lock:
            before = self._pages[key].script
        self.expect(key, Script(before.steps, "held"))
        try:
            yield
        finally:
            self.expect(key, Script(before.steps, "truth"))
            self._let_go.set()

    def moved(self) -> dict[str, Effect]:
        """The money that moved, by key."""
        with self._lock:
            return {key: page.effect for key, page in self._pages.items() if page.effect is not None}

    def said(self, key: str) -> list[tuple[str, str]]:
        """What it has said under a key so far: to calls (`pay`) and to inquiries (`inquire`)."""
        with self._lock:
            return list(self._pages[key].said)

    # --- answering ---

    def _serve(self, connection: Connection) -> None:
        while request := connection.read_request():
            answer = self._answer(request)
            if answer is None:
                connection.reset()
                return
            connection.send(answer)

    def _answer(self, request: bytes) -> bytes | None:
        head, _, body = request.partition(b"\r\n\r\n")
        found = re.search(rb"idempotency-key: *([!-~]+)", head, re.IGNORECASE)
        with self._lock:
            page = self._pages.get(found[1].decode() if found else "")
            if page is None:
                self.unexpected.append(request.decode("latin-1"))
                return _ANSWERS["500"]
            is_call = head.startswith(b"POST /pay ")
            word = _pay(page, json.loads(body, parse_float=Decimal)) if is_call else _tell(page)
            page.said.append(("pay" if is_call else "inquire", word))
            is_held = not is_call and page.script.inquiry == "held"
        if is_held:
            self.holding.set()
            self._let_go.wait()
        return _ANSWERS.get(word)


def _pay(page: _Page, asked: dict[str, Any]) -> str:
    step = page.script.steps[min(page.calls, len(page.script.steps) - 1)]
    page.calls += 1
    if (step.moves or step.says == "ok") and page.effect is None and not page.declined:
        amounts = [Decimal(asked[name]) for name in ("amount", "commission")]
        page.effect = Effect(asked["payment_id"], asked["user_id"], asked["type"], *amounts)
    if step.says not in {"ok", "declined", "402"}:
        return step.says
    if page.effect is not None:
        return "ok"
    page.declined = True
    return "402" if step.says == "402" else "declined"


def _tell(page: _Page) -> str:
    if page.script.inquiry not in {"truth", "held"}:
        return page.script.inquiry
    if page.effect is not None:
        return "ok"
    return "declined" if page.declined else "not_found"
