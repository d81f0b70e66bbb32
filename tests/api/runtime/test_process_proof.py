"""A part counts as ready only when the process that the service has started says so itself."""

import http.server
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.runtime.http_readiness import http_part_ready
from api.runtime.process_proof import HEADER, environment_with, new_proof, proof_headers
from api.settings import Settings
from tests.support.ports import free_port
from tests.support.services import READY, START_SECONDS_MAX, Service

pytestmark = pytest.mark.timeout(180)


class _AnotherLedger(http.server.BaseHTTPRequestHandler):
    """Says that it is ready to everybody who asks."""

    headers_of_all: tuple[tuple[str, str], ...] = ()

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in self.headers_of_all:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def another_ledger(port: int, *headers: tuple[str, str]) -> Iterator[None]:
    handler = type("_Handler", (_AnotherLedger,), {"headers_of_all": headers})
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("part", ["api", "gateway"])
def test_only_the_process_with_the_proof_is_ready(part: str) -> None:
    """A health check, which started nothing, asks for no proof."""
    port = free_port()
    settings = Settings.load({"PORT": str(port), "DEMO_GATEWAY_PORT": str(port)})

    with another_ledger(port, (HEADER, "other")):
        found = [http_part_ready(part, settings, proof=proof) for proof in ("own", "other", None)]
    with another_ledger(port):
        without = [http_part_ready(part, settings, proof=proof) for proof in ("own", None)]

    assert (found, without) == ([False, True, True], [False, True])


def test_a_process_shows_the_proof_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has another one; a process that nobody supervises shows none."""
    proofs = {new_proof() for _ in range(10)}
    proof = proofs.pop()

    assert proof_headers() == {}
    for name, value in environment_with({}, proof).items():
        monkeypatch.setenv(name, value)
    assert proof_headers() == {HEADER: proof}
    assert proof not in proofs


@pytest.mark.parametrize("kind", ["demo", "chaos"])
def test_both_gateways_and_the_api_prove_themselves(tmp_path: Path, kind: str) -> None:
    """Otherwise the service would never be ready."""
    service = Service(tmp_path, DEMO_GATEWAY_KIND=kind, DEMO_GATEWAY_SEED="7")

    service.start()
    service.stop()


@pytest.mark.parametrize(("name", "part"), [("PORT", "api"), ("DEMO_GATEWAY_PORT", "gateway")])
def test_a_service_is_not_ready_by_the_answers_of_another(tmp_path: Path, name: str, part: str) -> None:
    """Another ledger takes the port after the ports were checked, as one does that is started at the same time."""
    service = Service(tmp_path)
    with service._log.open("ab") as log:
        process = subprocess.Popen(
            service.command("serve"), cwd=tmp_path, env=service.environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (tmp_path / "var").exists():
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.01)

        with another_ledger(int(service.environment[name])):
            code = process.wait(START_SECONDS_MAX)
    finally:
        process.kill()

    assert code == 1
    assert f"The {part} has ended 3 times while starting" in service.log()
    assert READY.decode() not in service.log()
