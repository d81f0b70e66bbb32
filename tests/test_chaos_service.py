"""The whole service with the chaos gateway in the demo gateway's place, as a client and an integrator see it."""

import os
import time
from pathlib import Path

import httpx
import pytest

from processors.chaos_gateway_plan import Temper, is_silent
from tests.books import differences
from tests.chaos.payer import open_users
from tests.services import QUIET_SECONDS_MAX, Client, Service, serving
from tests.test_service import pay

SEED = int(os.environ.get("CHAOS_SEED", "5"))
TEMPER = Temper(seed=SEED)

pytestmark = pytest.mark.timeout(300)


def test_a_service_that_pays_through_chaos_keeps_its_books_right(tmp_path: Path) -> None:
    """200 payments from 16 clients, and each ends or is in doubt; `CHAOS_SEED=17` runs with another seed."""
    with serving(tmp_path, DEMO_GATEWAY_CHAOS_SEED=str(SEED)) as service, Client(service.url) as client:
        openings = open_users(client, 10)
        payment_ids = pay(service.url, users=10, payments=200)
        wait_until_quiet(client, payment_ids)

        found = differences(client, openings, payment_ids)
        reconcile = [letter for letter in client.get("/dlq", limit=500) if letter["state"] == "reconcile"]
        succeeded = client.pages("/payments", limit=500, status="success")
        behaviours = behaviours_of(service)
        proof = service.run("audit", "verify", "--json")

    told = f"seed {SEED}, {behaviours}"
    assert (found, reconcile) == ([], []), told
    assert len(succeeded) > 100, told
    assert sum(count > 0 for count in behaviours.values()) > 10, told
    assert f"chaos, by the seed {SEED}" in (tmp_path / "serve.log").read_text()
    assert proof.returncode == 0, proof.stdout + proof.stderr


def wait_until_quiet(client: Client, payment_ids: list[int]) -> None:
    """Wait until each payment has ended, but for those in doubt of which the gateway will never tell."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while True:
        letters = client.get("/dlq", limit=500)
        in_doubt = {letter["payment_id"] for letter in letters if letter["state"] == "in_doubt"}
        for_ever = {number for number in in_doubt if is_silent(TEMPER, gateway_key=f"payment-{number}")}
        payments = client.pages("/payments", limit=500)
        ended = {payment["payment_id"] for payment in payments if payment["status"] in {"success", "failed"}}
        if not (still_open := set(payment_ids) - ended - for_ever):
            return
        assert time.monotonic() < deadline, f"seed {SEED}: {sorted(still_open)}"
        time.sleep(0.2)


def behaviours_of(service: Service) -> dict[str, int]:
    """Ask the gateway itself what it did."""
    url = f"http://127.0.0.1:{service.environment['DEMO_GATEWAY_PORT']}/behaviours"
    counts: dict[str, int] = httpx.get(url, trust_env=False).json()
    return counts
