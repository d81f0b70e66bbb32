"""A back-up under load is restored to a moment: nothing acknowledged before is missing, and nothing is paid twice.

The gateway keeps its book elsewhere, so it knows all that the restored store has forgotten.
"""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from anyio import run as run_async

from processors.simulators.demo.scenario import DemoProfile
from tests.support import waiting
from tests.support.gateways.demo_client import effects_of
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book
from tests.support.servers.clusters import run, wait_until
from tests.support.services import QUIET_SECONDS_MAX, Client, Service

pytestmark = pytest.mark.timeout(300)

PAYERS: Final = 3
OPENING: Final = 1_000_000
STRETCH: Final = 60
"""How many payments are acknowledged in each stretch: before the back-up, until the moment, and after it."""

PROFILE: Final = DemoProfile(timeout_rate=0.1, error_rate=0.2, seed=15, hang_seconds=1)


class Load:
    """Payers who withdraw money all the time, and the payments that were acknowledged to them."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[int] = []
        self._url = url
        self._ending = threading.Event()
        self._payers = [threading.Thread(target=self._pay, args=(number,)) for number in range(PAYERS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for payer in self._payers:
            payer.start()
        try:
            yield
        finally:
            self._ending.set()
            for payer in self._payers:
                payer.join()

    def wait_for_more(self, count: int) -> None:
        wanted, deadline = len(self.acknowledged) + count, time.monotonic() + QUIET_SECONDS_MAX
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, "the payers are not answered"
            time.sleep(0.01)

    def _pay(self, number: int) -> None:
        with Client(self._url) as client:
            user = client.post("/users/", {"balance": OPENING}).json()["id"]
            turn = 0
            while not self._ending.is_set():
                turn += 1
                answer = client.post("/payments/withdraw", {"user_id": user, "amount": 5}, key=f"{number}-{turn}")
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.acknowledged.append(answer.json()["payment_id"])


def archive_all(service: Service) -> None:
    """Close the server's current segment of WAL, and wait until it is in the archive."""
    url = f"postgresql://postgres@/postgres?host={(service.directory / 'var/postgres/socket').read_text()}"
    ((segment,),) = run(url, "SELECT pg_walfile_name(pg_switch_wal())")
    wait_until(url, f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver")


def all_ended(client: Client) -> dict[int, Any]:
    """Wait until the read models have the whole log and every payment has ended, and return the payments by id."""
    waiting.wait_until(lambda: all(model["lag"] == 0 for model in client.get("/health")["read_models"]))
    return client.settled([payment["payment_id"] for payment in client.pages("/payments", limit=500)])


def test_a_back_up_under_load_is_restored_to_a_moment(tmp_path: Path, postgres_url: str) -> None:
    """The store is recovered and audited; the gateway's book has each kept payment once, as the ledger says."""
    with fresh_book(postgres_url) as book, DemoGatewayProcess(book, PROFILE) as gateway:
        service = Service(tmp_path, PAYMENT_GATEWAY_URL=gateway.url, WAL_ARCHIVE_DIR=str(tmp_path / "the archive"))
        service.start()
        try:
            load = Load(service.url)
            with load.running():
                load.wait_for_more(STRETCH)
                taken = service.run("backup", "back-up", "--json")
                assert taken.returncode == 0, taken.stderr
                load.wait_for_more(STRETCH)
                before = list(load.acknowledged)
                moment = datetime.now(UTC)
                load.wait_for_more(STRETCH)
            archive_all(service)
        finally:
            service.kill_everything()
        shutil.rmtree(tmp_path / "var/postgres")

        restored = service.run("restore", "back-up", "--to", moment.isoformat(), "--json")

        assert restored.returncode == 0, restored.stderr
        said = json.loads(restored.stdout)
        assert (said["audit"]["ok"], said["audit"]["errors"]) == (True, [])
        assert said["audit"]["position"] > json.loads(taken.stdout)["note"]["position"]
        service.start()
        with Client(service.url) as client:
            payments = all_ended(client)
        audited = service.run("audit", "verify")
        service.stop()
        effects = Counter(effect["payment_id"] for effect in run_async(effects_of, gateway.url))

    assert set(before) - set(payments) == set()
    assert len(set(load.acknowledged) - set(payments)) > 0, "nothing was lost, so no moment was restored"
    assert {number: effects[number] for number in payments} == {
        number: int(payment["status"] == "success") for number, payment in payments.items()
    }
    assert audited.returncode == 0, audited.stdout
