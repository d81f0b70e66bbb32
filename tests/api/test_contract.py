"""The contract as OpenAPI describes it, tried by schemathesis on the whole service with all of its checks.

Requests that fit the description and requests that do not, each by itself and along the links from answers to further
requests. What it is told beyond the description, and what is excused, stands in `tests/api/contract.py`.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.api.contract import ANSWERS
from tests.services import CHECKOUT, QUIET_SECONDS_MAX, Client, Service, serving

CONFIGURATION = CHECKOUT / "tests" / "api" / "schemathesis.toml"

KIND_GATEWAY = {"DEMO_GATEWAY_ERROR_RATE": "0", "DEMO_GATEWAY_TIMEOUT_RATE": "0"}
"""Its errors come through the API as they are, and would be taken for the API's own."""


def test_a_short_run_finds_no_failure(tmp_path: Path) -> None:
    """The same requests each time."""
    try_contract(tmp_path, "--max-examples", "15", "--generation-deterministic")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_long_run_finds_no_failure(tmp_path: Path) -> None:
    """Other requests each time; the seed stands in what a failure shows."""
    try_contract(tmp_path, "--max-examples", "1000", "--seed", str(secrets.randbelow(2**32)))


def try_contract(directory: Path, *options: str) -> None:
    """Run schemathesis over a service that holds a little of everything, and hold both to what they promise."""
    with serving(directory, **KIND_GATEWAY) as service, Client(service.url) as client:
        prepare(client)

        tried, answers = run_schemathesis(service, *options)

        assert tried.returncode == 0, tried.stdout + tried.stderr
        check_reach(client.http.get(f"{service.url}/docs/openapi.json").json(), answers)
        check_soundness(service, client)


def prepare(client: Client) -> None:
    """Have users of two currencies, one with a settled payment, one that failed and one in doubt."""
    for user in ({"balance": 1000}, {"balance": 1000, "currency": "JPY"}, {}):
        assert client.post("/users", user).status_code == 201
    for amount in ("9000.02", "9000.50", "200"):
        assert client.post("/payments/deposit", {"user_id": 1, "deposit": amount}).status_code == 202
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while {letter["state"] for letter in client.get("/dlq")} != {"failed", "in_doubt"}:
        assert time.monotonic() < deadline, client.get("/payments")
        time.sleep(0.05)


def run_schemathesis(service: Service, *options: str) -> tuple[subprocess.CompletedProcess[str], Counter[str]]:
    """Give what it said, and how often each operation was answered with which status."""
    seen = service.directory / "answers"
    tried = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "--no-color"),
            *("run", f"{service.url}/docs/openapi.json", *options),
        ],
        cwd=service.directory,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), ANSWERS: str(seen)},
        capture_output=True,
        text=True,
        check=False,
    )
    return tried, Counter(seen.read_text().splitlines())


def check_reach(document: Any, answers: Counter[str]) -> None:
    """Every operation was answered well and refused: a run that is always refused at the door shows nothing."""
    for item in document["paths"].values():
        for operation in item.values():
            name = operation["operationId"]
            statuses = {int(answer.split()[1]) for answer in answers if answer.split()[0] == name}
            assert statuses & {200, 201, 202}, (name, statuses)
            assert any(400 <= status < 500 for status in statuses), (name, statuses)


def check_soundness(service: Service, client: Client) -> None:
    """Nothing of it has upset the service: no error is logged, no read model has stopped, and the books are right."""
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert client.get("/health")["status"] == "ok"
    assert client.get("/audit/trial-balance")["balanced"]
    proof = service.run("audit", "verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr
