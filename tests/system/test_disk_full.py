"""A full disk: requests get 503, nothing is half done, and the service goes on when there is space again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.chaos.payer import Payer, open_users, wait_for_answers
from tests.support.consistency import differences
from tests.support.services import Client, serving

pytestmark = pytest.mark.timeout(300)

DISK_MEGABYTES = 384


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system that is small enough for a test to fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    unmounting = ["umount", "--lazy", str(disk)]
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip(reason="making a file system takes a root who may mount")
    try:
        yield disk
    finally:
        subprocess.run(unmounting, check=True)


def fill(disk: Path) -> Path:
    """Fill the disk, and return the file that fills it."""
    ballast = disk / "ballast"
    # Without a buffer, whose bytes the end of the block would try to write once more.
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
    return ballast


def test_a_full_disk_answers_503_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """Clients get 503 and no other error, and everything that was acknowledged is there afterwards."""
    with serving(tmp_path, LEDGER_DATA_DIR=str(small_disk / "var")) as service, Client(service.url) as client:
        openings = open_users(client, 8)
        payers = [Payer(f"payer-{n}", [service.url], list(openings)) for n in range(4)]
        for payer in payers:
            payer.start()
        wait_for_answers(payers, 50)

        told: list[int] = []
        ballast = fill(small_disk)
        while (
            full := client.post("/payments/deposit", {"user_id": 1, "deposit": 1})
        ).status_code == httpx.codes.ACCEPTED:
            told.append(full.json()["payment_id"])
        ballast.unlink()
        wait_for_answers(payers, 50)
        for payer in payers:
            payer.finish()

        told += [answer.payment_id for payer in payers for answer in payer.answered]
        client.settled(told)
        assert full.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert int(full.headers["Retry-After"]) > 0
        assert differences(client, openings, told) == []
        assert service.run("audit", "verify").returncode == 0
