"""The demo gateway as a real process that a test starts, stops and kills."""

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

from ledger.store.database import Database
from processors.simulators.demo.scenario import DemoProfile
from tests.support.ports import free_port

_PROGRAM = """
import json, sys
from processors.simulators.demo.server import serve
from processors.simulators.demo.scenario import DemoProfile
from tests.support.gateways.serving import run
arguments = json.loads(sys.argv[1])
run(serve, profile=DemoProfile(**arguments.pop("profile")), **arguments)
"""
_START_SECONDS_MAX = 30.0


class GatewayProcess:
    """A program that serves a gateway on a port of its own. As a context manager, it is stopped at the end."""

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
        """Wait until /health answers 200."""
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", trust_env=False).status_code == 200:
                    return
            time.sleep(0.02)
        _, said = self.process.communicate()
        raise AssertionError(f"the demo gateway did not start: {said}")

    def kill(self) -> None:
        """Kill it without letting it clean up."""
        self.process.kill()
        self.process.communicate()

    def restart(self) -> None:
        """Start it again on the same port."""
        self.process = self._start()
        self.wait_until_ready()

    def terminate(self) -> tuple[int, str]:
        """Ask it to stop. Returns its exit code and its output on standard error."""
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
    """The demo gateway with a given profile, as a process."""

    def __init__(self, database: Database, profile: DemoProfile, *, port: int | None = None) -> None:
        super().__init__(_PROGRAM, database, port=port, profile=asdict(profile))


@contextmanager
def fresh_book(url: str) -> Iterator[Database]:
    """Yield the name of a schema that does not exist yet, and drop the schema afterwards."""
    database = Database(url, f"demo_{uuid4().hex[:16]}")
    try:
        yield database
    finally:
        with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(database.schema)))


def pay_body(payment_id: int, amount: str = "200.00", **other: Any) -> dict[str, Any]:
    """Build the body of POST /pay."""
    return {
        "payment_id": payment_id,
        "user_id": 7,
        "amount": amount,
        "commission": "4.00",
        "type": "deposit",
        **other,
    }
