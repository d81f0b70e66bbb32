"""A gateway that answers each payment's requests from a script."""

import json
import re
from typing import Any, Self

from ledger.domain.identifiers import without_salt
from tests.support.gateways.misbehaving import Connection, MisbehavingServer, http

OK = http("200 OK", b'{"status":"ok"}')
DECLINED = http("200 OK", b'{"status":"declined"}')
PENDING = http("200 OK", b'{"status":"pending"}')
NOT_FOUND = http("404 Not Found", b'{"status":"not_found"}')
BROKEN = http("502 Bad Gateway")
BUSY = http("429 Too Many Requests")


class ScriptedGateway:
    """Answers each payment's calls and inquiries from a script, one answer after the other; the last one is repeated.

    An answer is bytes, or a function that returns them and may take some time. `asked` has the gateway keys without
    their salt, which differs in each run. Single payments may have a script for their calls in `calls_of`.
    """

    def __init__(self, *, calls: list[Any], inquiries: list[Any] | None = None, port: int | None = None) -> None:
        self.scripts = {"POST": calls, "GET": inquiries or [NOT_FOUND]}
        self.calls_of: dict[int, list[Any]] = {}
        self.asked: list[tuple[str, int, str]] = []
        self._server = MisbehavingServer(self._behave, port=port)

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.url = self._server.url
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.__exit__(None, None, None)

    def of(self, method: str) -> list[tuple[int, str]]:
        return [(payment_id, key) for asked, payment_id, key in self.asked if asked == method]

    def _behave(self, connection: Connection) -> None:
        while request := connection.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            method = head.split(b" ")[0].decode()
            found = re.search(rb"(?i)idempotency-key: *([^\r]+)", head)
            assert found is not None
            payment_id = json.loads(body)["payment_id"] if body else int(head.split(b" ")[1].rsplit(b"/", 1)[1])
            script = self.scripts[method]
            if method == "POST":
                script = self.calls_of.get(payment_id, script)
            count = len([one for one in self.asked if one[:2] == (method, payment_id)])
            self.asked.append((method, payment_id, without_salt(found[1].decode())))
            answer = script[min(count, len(script) - 1)]
            connection.send(answer() if callable(answer) else answer)
