"""The whole service against the model: random requests over HTTP, a scripted gateway, and killed processes.

One service serves all examples of a test, each with users of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.machines.service_machine import ServiceMachine
from tests.support.gateways.steered import SteeredGateway
from tests.support.services import Client, serving

STEADY: Final = {
    # Calls hardly ever time out in these examples. Only the lease of a killed worker's call expires.
    "GATEWAY_TIMEOUT_SECONDS": "0.5",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "6",
    "GATEWAY_BACKOFF_BASE_SECONDS": "0.01",
    "GATEWAY_BACKOFF_MAX_SECONDS": "0.02",
    "GATEWAY_BACKOFF_JITTER_SECONDS": "0.01",
    "GATEWAY_INQUIRY_DELAY_SECONDS": "0.5",
}
PATIENT: Final = {"GATEWAY_LATE_INQUIRY_SECONDS": "0.5, 1.5"}
"""Late inquiries come so soon that an example can wait for them. In the other examples operators come first."""

FIXED: Final = settings(derandomize=True, database=None)


@pytest.fixture
def gateway() -> Iterator[SteeredGateway]:
    """Yield a gateway that follows scripts."""
    with SteeredGateway() as gateway:
        yield gateway


@pytest.mark.timeout(900)
def test_the_service_does_what_the_model_does(tmp_path: Path, gateway: SteeredGateway) -> None:
    """Run a fixed set of examples, the same each time. A failing one is shown step by step."""
    run(tmp_path, gateway, settings(FIXED, max_examples=10, stateful_step_count=25), patient=False)


@pytest.mark.timeout(900)
def test_money_that_moves_late_becomes_a_letter(tmp_path: Path, gateway: SteeredGateway) -> None:
    """Run a fixed set of examples that wait for all inquiries: the gateway's book and the ledger's letters agree."""
    run(tmp_path, gateway, settings(FIXED, max_examples=3, stateful_step_count=12), patient=True)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("patient", [True, False], ids=["patient", "impatient"])
def test_the_service_does_what_the_model_does_for_thousands_of_steps(
    tmp_path: Path,
    gateway: SteeredGateway,
    patient: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """Run new examples each time. A failing one is shown step by step, and run first the next time."""
    run(tmp_path, gateway, settings(max_examples=60, stateful_step_count=60, print_blob=True), patient=patient)


def run(directory: Path, gateway: SteeredGateway, wanted: settings, *, patient: bool) -> None:
    own = STEADY | PATIENT if patient else STEADY
    with serving(directory, PAYMENT_GATEWAY_URL=gateway.url, **own) as service, Client(service.url) as client:

        class Machine(ServiceMachine):
            is_patient = patient
            failures: ClassVar[list[str]] = []

            def __init__(self) -> None:
                super().__init__(service, client, gateway)

        try:
            run_state_machine_as_test(
                Machine, settings=settings(wanted, deadline=None, suppress_health_check=list(HealthCheck))
            )
        except Flaky as flaky:
            raise AssertionError(Machine.failures[0] if Machine.failures else "") from flaky
        proof = service.run("audit", "verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr
