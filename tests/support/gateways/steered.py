"""A payment gateway that follows a script for each key: which answer to give to each call, and whether to move money.

Keys are named here without their salt, which differs in each run.

It is consistent. Money moves once for each key, and a key whose money has moved is never declined. An inquiry with the
answer `truth` is answered from the gateway's book, and a held inquiry too, once it is released. But the gateway may
move money and hide it, break the connection, or say that it does not know. `moved` lists its effects, `said` its
answers.
"""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Literal, Self

from ledger.domain.identifiers import without_salt
from tests.support.gateways.misbehaving import Connection, MisbehavingServer, http

Saying = Literal["ok", "declined", "402", "422", "429", "502", "pending", "garbage", "reset"]
Inquiring = Literal["truth", "held", "pending", "500", "404"]


@dataclass(frozen=True)
class Step:
    """One call: the answer that the caller gets, and whether money moves. With "ok" it always moves."""

    says: Saying
    moves: bool = False


@dataclass(frozen=True)
class Script:
    """The steps for the calls under one key, and the answer to inquiries. The last step is repeated.

    A gateway that is `late` works a call off only after it has said that it does not know it, and refuses to be called
    again for it.
    """

    steps: Sequence[Step] = (Step("ok"),)
    inquiry: Inquiring = "truth"
    late: bool = False


@dataclass(frozen=True)
class Effect:
    """Money that moved, under one key."""

    payment_id: int
    user_id: int
    kind: str
    amount: Decimal
    commission: Decimal


@dataclass
class _Page:
    """One key's page in the gateway's book: its script, its effect, and the answers given so far."""

    script: Script
    effect: Effect | None = None
    received: Effect | None = None
    declined: bool = False
    calls: int = 0
    said: list[tuple[str, str]] = field(default_factory=list)


_ANSWERS: Final[dict[str, bytes]] = {
    "ok": http("200 OK", b'{"status": "ok"}'),
    "declined": http("200 OK", b'{"status": "declined"}'),
    "pending": http("200 OK", b'{"status": "pending"}'),
    "garbage": http("200 OK", b"\xff\xfe{"),
    "422": http("422 Unprocessable Content", b'{"status": "duplicate"}'),
    "402": http("402 Payment Required", b'{"status": "declined"}'),
    "404": http("404 Not Found", b"nothing of that name"),
    "not_found": http("404 Not Found", b'{"status": "not_found"}'),
    "429": http("429 Too Many Requests", b"", "Retry-After: 0"),
    "500": http("500 Internal Server Error"),
    "502": http("502 Bad Gateway", b"<html>"),
}
"""The answers as bytes. For a word that is not listed, the connection is reset."""

_UNCLEAR: Final = {"502", "pending", "garbage", "reset"}
"""The answers after which the gateway may still work the call off; 429 and a decline are promises."""


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
        """Set the script for a key. Its effect and answers so far are kept."""
        with self._lock:
            if key in self._pages:
                self._pages[key].script = script
            else:
                self._pages[key] = _Page(script)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the inquiries under a key for the length of a block; `holding` is set when one has arrived."""
        self._let_go.clear()
        self.holding.clear()
        with self._lock:
            before = self._pages[key].script
        self.expect(key, replace(before, inquiry="held"))
        try:
            yield
        finally:
            self.expect(key, replace(before, inquiry="truth"))
            self._let_go.set()

    def moved(self) -> dict[str, Effect]:
        """The money that moved, by key."""
        with self._lock:
            return {key: page.effect for key, page in self._pages.items() if page.effect is not None}

    def said(self, key: str) -> list[tuple[str, str]]:
        """The answers under a key so far: to calls (`pay`) and to inquiries (`inquire`), in order."""
        with self._lock:
            return list(self._pages[key].said) if key in self._pages else []

    def tells_the_truth(self, key: str) -> bool:
        """Whether every inquiry under a key is answered from the book."""
        with self._lock:
            return self._pages[key].script.inquiry == "truth"

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
            page = self._pages.get(without_salt(found[1].decode()) if found else "")
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
    amounts = [Decimal(asked[name]) for name in ("amount", "commission")]
    effect = Effect(asked["payment_id"], asked["user_id"], asked["type"], *amounts)
    if page.script.late and page.effect is not None:
        return "422"
    if step.says in _UNCLEAR:
        page.received = effect
    if (step.moves or step.says == "ok") and page.effect is None and not page.declined:
        page.effect = effect
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
    if page.script.late and not page.declined:
        page.effect = page.received
    return "declined" if page.declined else "not_found"
