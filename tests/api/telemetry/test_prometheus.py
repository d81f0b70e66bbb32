"""A real Prometheus scrapes a service under load, and every expression of the alarms and the dashboard has data."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.services import CHECKOUT, Service
from tests.support.waiting import wait_until

DEPLOY: Final = CHECKOUT / "deploy"
RULES: Final = DEPLOY / "prometheus/rules.yml"
DASHBOARD: Final = DEPLOY / "grafana/payment-ledger.json"
DOCUMENTS: Final = CHECKOUT

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None, reason="Prometheus is not installed"
)


def alarms() -> list[dict[str, Any]]:
    """The rules of the alarms."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Each expression of the alarms, without its filter, and each of the dashboard."""
    compared = [re.sub(r"(==|>|<) ([\d.]+)$", r"\1 bool \2", rule["expr"]) for rule in alarms()]
    assert all(" bool " in each for each in compared), "an alarm compares"
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    shown = [target["expr"].replace("$__rate_interval", "30s") for panel in panels for target in panel["targets"]]
    return [*compared, *shown]


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    """The files as an operator copies them."""
    for words in (("rules", str(RULES)), ("config", str(DEPLOY / "prometheus/prometheus.yml"))):
        checked = subprocess.run(
            [shutil.which("promtool") or "", "check", *words], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alarm_has_a_runbook_that_exists() -> None:
    """A link leads to a heading of a document."""
    for rule in alarms():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        text = (DOCUMENTS / path).read_text("utf-8")
        headings = {
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }

        assert anchor in headings or anchor == "{{ $labels.rule }}", rule["alert"]


@contextmanager
def prometheus(directory: Path, targets: dict[str, int]) -> Iterator[str]:
    """Run Prometheus on these targets with the alarms of the project; yields its URL."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration), "utf-8")
    port = free_port()
    command = [
        shutil.which("prometheus") or "",
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(url: str, expression: str) -> list[Any]:
    """Ask Prometheus for the values of an expression; those that are not numbers do not count.

    While it starts it says 503.
    """
    wait_until(lambda: _is_ready(url), within_seconds=60)
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10)
    assert answer.status_code == httpx.codes.OK, (expression, answer.text)
    return [each for each in answer.json()["data"]["result"] if each["value"][1] != "NaN"]


@contextmanager
def load(url: str) -> Iterator[None]:
    """Send deposits and withdrawals one after the other until the block ends."""
    stopping = threading.Event()

    def pay() -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            client.post("/api/v1/users", json={"balance": 1_000_000})
            while not stopping.is_set():
                client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5})
                client.post("/api/v1/payments/withdraw", json={"user_id": 1, "withdraw": 1})
                client.get("/api/v1/users/1")
                stopping.wait(0.05)

    thread = threading.Thread(target=pay)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@pytest.mark.timeout(300)
def test_every_expression_of_alarms_and_dashboard_has_data(tmp_path: Path) -> None:
    """API, worker and projector are scraped under load, with a gateway that errs."""
    worker, projector = free_port(), free_port()
    service = Service(
        tmp_path,
        WORKER_METRICS_PORT=str(worker),
        PROJECTOR_METRICS_PORT=str(projector),
        DEMO_GATEWAY_ERROR_RATE="0.2",
        DEMO_GATEWAY_TIMEOUT_RATE="0.1",
        DEMO_GATEWAY_SEED="1",
    )
    service.start()
    targets = {
        "payment-ledger-api": service.port,
        "payment-ledger-worker": worker,
        "payment-ledger-projector": projector,
    }
    try:
        subprocess.run(
            service.command("audit", "verify"), cwd=tmp_path, env=service.environment, check=True, capture_output=True
        )
        with prometheus(tmp_path, targets) as url, load(service.url):
            wait_until(lambda: _is_up(url), within_seconds=30)
            wait_until(lambda: not missing(url), within_seconds=120)

            assert missing(url) == []
            firing = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"][0]["rules"]
            assert {rule["health"] for rule in firing} == {"ok"}
    finally:
        service.stop()


def missing(url: str) -> list[str]:
    """The expressions that have no data yet."""
    time.sleep(0.5)
    return [each for each in expressions() if not ask(url, each)]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=10).is_success
    except httpx.TransportError:
        return False


def _is_up(url: str) -> bool:
    try:
        return len(ask(url, "up == 1")) == 3
    except httpx.TransportError:
        return False
