"""The service as its users run it: as separate processes, reached over HTTP only."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from ledger.store.database import Database
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60.0
QUIET_SECONDS_MAX = 120.0
READY = b"The payment ledger is ready."

QUICK_GATEWAY = {
    "GATEWAY_TIMEOUT_SECONDS": "0.3",
    "GATEWAY_BACKOFF_BASE_SECONDS": "0.05",
    "GATEWAY_BACKOFF_MAX_SECONDS": "0.2",
    "GATEWAY_BACKOFF_JITTER_SECONDS": "0.05",
    "GATEWAY_INQUIRY_DELAY_SECONDS": "0.3",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "3",
    "GATEWAY_BREAKER_FAILURES": "0",
    "GATEWAY_OUTAGE_PATIENCE_SECONDS": "0",
}
"""With these settings, a payment that meets errors and time-outs ends within seconds; each call uses up an attempt."""

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a context that loads no certificates is fast to create


def is_ready(url: str) -> bool:
    """Return whether an API says that it is ready."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=5, verify=_NO_TLS).status_code == httpx.codes.OK
    return False


class Service:
    """A `payment-ledger serve` with a data directory and ports of its own."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {
            "PORT": str(self.port),
            "DEMO_GATEWAY_PORT": str(free_port()),
            "LEDGER_DATA_DIR": str(directory / "var"),
            "LOG_LEVEL": "warning",
        }
        if "DATABASE_URL" in settings:
            own["DEMO_GATEWAY"] = "true"  # a database that is not embedded needs that
        inherited = {name: os.environ[name] for name in os.environ if name.startswith(("PATH", "HOME", "COV", "LANG"))}
        self.environment = inherited | {"PYTHONPATH": str(CHECKOUT)} | QUICK_GATEWAY | own | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "serve.log"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "api.cli", *words]

    def start(self) -> float:
        """Start the service and wait until all its processes are ready. Returns how long that took, in seconds."""
        started = time.monotonic()
        said = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("serve"), cwd=self.directory, env=self.environment, stdout=log, stderr=log
            )
        while READY not in self._log.read_bytes()[said:]:
            took = time.monotonic() - started
            assert self._process.poll() is None, self.log()
            assert took < START_SECONDS_MAX, self.log()
            time.sleep(0.05)
        return time.monotonic() - started

    def is_ready(self) -> bool:
        return is_ready(self.url)

    def log(self) -> str:
        """The output of its processes on standard error."""
        return self._log.read_text()

    def stop(self) -> float:
        """Stop the service and wait for it. Returns how long that took, in seconds."""
        assert self._process is not None
        started = time.monotonic()
        family = self.family()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        took = time.monotonic() - started
        assert code == 0, self.log()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == [], alive
        return took

    def family(self) -> "list[psutil.Process]":
        """All its processes except the first one, including those of its database."""
        here = str(self.directory)
        children: list[psutil.Process] = [child for one in self._first() for child in one.children(recursive=True)]
        known = {child.pid for child in children}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_postgres = "postgres" in process.name() and process.cwd().startswith(here)
                if is_postgres and process.pid not in known:
                    children.append(process)
        return children

    def processes_of(self, part: str) -> "list[psutil.Process]":
        """The running processes of one part."""
        found = []
        for process in self.family():
            with suppress(psutil.Error):
                if part in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def kill_everything(self) -> None:
        """Kill all its processes at once, as a power cut would. Some of them, or all, may have ended before."""
        assert self._process is not None
        victims = [*self._first(), *self.family()]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.suspend()  # so that none can clean up or start another one in between
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        self._process.wait()
        psutil.wait_procs(victims, timeout=10)

    def _first(self) -> "list[psutil.Process]":
        """The process that started the others; none when it has ended, because its number may be another's then."""
        assert self._process is not None
        return [psutil.Process(self._process.pid)] if self._process.poll() is None else []

    @contextmanager
    def another(self, part: str, **settings: str) -> Iterator[None]:
        """Run one more process of the service beside it, on the same database."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self.command(part), cwd=self.directory, env=self.environment | settings, stdout=log, stderr=log
            )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0, self.log()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the CLI beside it."""
        return subprocess.run(
            self.command(*words), cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[Service]:
    """Run the service for the length of a block."""
    service = Service(directory, **settings)
    service.start()
    try:
        yield service
    except BaseException:
        service.kill_everything()
        raise
    service.stop()


@contextmanager
def serving_api(database: Database, directory: Path, **settings: str) -> Iterator[str]:
    """Run only the API, as a process of its own, on an existing ledger; yields its URL."""
    own = {"DATABASE_URL": database.url, "LEDGER_SCHEMA": database.schema}
    service = Service(directory, **own, **settings)
    with service.another("api"):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not service.is_ready():
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.05)
        yield service.url


class Client:
    """A client of the API, with a connection pool of its own."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=30, verify=_NO_TLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()

    def post(self, path: str, body: Any, *, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post(path, json=body, headers=headers)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.http.get(path, params=parameters)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def pages(self, path: str, cursor: str = "cursor", following: str = "next_cursor", **parameters: Any) -> list[Any]:
        """Read all pages of a list."""
        page = self.get(path, **parameters)
        items: list[Any] = list(page["items"])
        while page[following] is not None:
            page = self.get(path, **parameters, **{cursor: page[following]})
            items.extend(page["items"])
        return items

    def settled(self, payment_ids: list[int]) -> dict[int, Any]:
        """Wait until payments have ended, and return them by id."""
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        ended: dict[int, Any] = {}
        for payment_id in payment_ids:
            while (payment := self.get(f"/payments/{payment_id}"))["status"] not in {"success", "failed"}:
                assert time.monotonic() < deadline, payment
                time.sleep(0.05)
            ended[payment_id] = payment
        return ended
