"""The demo gateway as a real process, to be started, stopped and killed by a test."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Self
from uuid import uuid4

import httpx
from msgspec.structs import asdict
from psycopg import sql

from ledger.database import Database
from processors.demo_gateway_plan import Manners
from tests.ports import free_port

_PROGRAM = """
import json, sys
from processors.demo_gateway import run
from processors.demo_gateway_plan import Manners
arguments = json.loads(sys.argv[1])
run(manners=Manners(**arguments.pop("manners")), **arguments)
"""
_START_SECONDS_MAX = 30.0


class GatewayProcess:
    """A program that serves a gateway on a port of its own; a context manager, which stops it in the end."""

    def __init__(self, program: str, database: Database, *, port: int | None = None, **arguments: Any) -> None:
        self.port = port or free_port()
        self._program = program
        self._arguments = arguments | {"database_url": database.url, "schema": database.schema, "port": self.port}
        self.process = self._start()

    @property
    def url(self) -> str:
        """The gateway's base URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def wait_until_ready(self) -> None:
        """Wait for the first good answer of /health."""
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", trust_env=False).status_code == 200:
                    return
            time.sleep(0.02)
        _, said = self.process.communicate()
        raise AssertionError(f"the demo gateway did not start: {said}")

    def kill(self) -> None:
        """Kill it without a chance to tidy up."""
        self.process.kill()
        self.process.communicate()

    def restart(self) -> None:
        """Start it again on the same port."""
        self.process = self._start()
        self.wait_until_ready()

    def terminate(self) -> tuple[int, str]:
        """Ask it to stop; gives its exit code and what it said on its way."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, said = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, said or ""

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self._program, json.dumps(self._arguments)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


class DemoGatewayProcess(GatewayProcess):
    """The demo gateway, with some manners."""

    def __init__(self, database: Database, manners: Manners, *, port: int | None = None) -> None:
        super().__init__(_PROGRAM, database, port=port, manners=asdict(manners))


@contextmanager
def fresh_book(url: str) -> Iterator[Database]:
    """Give the name of a schema that does not exist yet, and drop it afterwards."""
    database = Database(url, f"demo_{uuid4().hex[:16]}")
    try:
        yield database
    finally:
        with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(database.schema)))


def pay_body(payment_id: int, amount: str = "200.00", **other: Any) -> dict[str, Any]:
    """Write the body of POST /pay."""
    return {
        "payment_id": payment_id,
        "user_id": 7,
        "amount": amount,
        "commission": "4.00",
        "type": "deposit",
        **other,
    }
