"""Schemathesis tests the OpenAPI contract against the whole service, with all of its checks.

It sends requests that fit the description and requests that do not, singly and along the links from answers to further
requests. `tests/api/openapi/contract.py` has its additions and excuses.
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

from tests.api.openapi.contract import ANSWERS
from tests.support.services import CHECKOUT, QUIET_SECONDS_MAX, Client, Service, serving

CONFIGURATION = CHECKOUT / "tests/api/openapi/schemathesis.toml"

FAILED_MIN = 20

KIND_GATEWAY = {"DEMO_GATEWAY_ERROR_RATE": "0", "DEMO_GATEWAY_TIMEOUT_RATE": "0"}
"""Its errors are forwarded by the API, and would be taken for the API's own."""


def test_a_short_run_finds_no_failure(tmp_path: Path) -> None:
    """The requests are the same each time."""
    try_contract(tmp_path, "--max-examples", "15", "--generation-deterministic")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_long_run_finds_no_failure(tmp_path: Path) -> None:
    """The requests differ each time. A failure shows the seed."""
    try_contract(tmp_path, "--max-examples", "1000", "--seed", str(secrets.randbelow(2**32)))


def try_contract(directory: Path, *options: str) -> None:
    """Run schemathesis against a service with some data, and check its report and the service."""
    with serving(directory, **KIND_GATEWAY) as service, Client(service.url) as client:
        prepare(client)

        tried, answers = run_schemathesis(service, *options)

        assert tried.returncode == 0, tried.stdout + tried.stderr + service.log()
        check_reach(client.http.get(f"{service.url}/docs/openapi.json").json(), answers)
        check_soundness(service, client)


def prepare(client: Client) -> None:
    """Open users of two currencies, and make payments: one that settles, one in doubt, and many that fail.

    A decision about a failed payment mostly closes its letter, and each kind of decision needs some.
    """
    for user in ({"balance": 1000}, {"balance": 1000, "currency": "JPY"}, {}):
        assert client.post("/users", user).status_code == 201
    for amount in ("9000.02", "9000.50", "200", *["9000.02"] * FAILED_MIN):
        assert client.post("/payments/deposit", {"user_id": 1, "deposit": amount}).status_code == 202
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while Counter(letter["state"] for letter in client.get("/dlq")) != {"failed": 1 + FAILED_MIN, "in_doubt": 1}:
        assert time.monotonic() < deadline, client.get("/payments")
        time.sleep(0.05)


def run_schemathesis(service: Service, *options: str) -> tuple[subprocess.CompletedProcess[str], Counter[str]]:
    """Return the output, and how often each operation was answered with each status."""
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


OF_TWO_KEYS = {"approve", "reject", "read_request"}
"""A service without keys has no request that waits for a second one."""


def check_reach(document: Any, answers: Counter[str]) -> None:
    """Check that every operation was both accepted and refused. A run in which all is refused early shows nothing."""
    for item in document["paths"].values():
        for operation in item.values():
            name = operation["operationId"]
            statuses = {int(answer.split()[1]) for answer in answers if answer.split()[0] == name}
            assert statuses & {200, 201, 202} or name in OF_TWO_KEYS, (name, statuses)
            assert any(400 <= status < 500 for status in statuses), (name, statuses)


def check_soundness(service: Service, client: Client) -> None:
    """Check that no error is logged, no read model has stopped, and the trial balance is right."""
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert client.get("/health")["status"] == "ok"
    assert client.get("/audit/trial-balance")["balanced"]
    proof = service.run("audit", "verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr
