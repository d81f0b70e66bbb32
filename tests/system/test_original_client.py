"""The client of the service that this one replaces works unchanged, field by field and status by status.

The types here are those of that client, written without our own: a missing field, or one of another type, is an error.
The only differences are those that the README lists.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
import msgspec
import pytest
from msgspec import Struct

from tests.support.services import QUIET_SECONDS_MAX, Client, serving

pytestmark = pytest.mark.timeout(300)

KEY = "123e4567-e89b-12d3-a456-426614174000"

PATIENT = {
    "DEMO_GATEWAY_ERROR_RATE": "0",
    "DEMO_GATEWAY_TIMEOUT_RATE": "0",
    "GATEWAY_TIMEOUT_SECONDS": "10",
    "GATEWAY_INQUIRY_DELAY_SECONDS": "",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "20",
}
"""The gateway errs only for magic amounts, however slow the machine is, so that counters can be compared exactly."""

Kind = Literal["deposit", "withdraw"]
AnswerT = TypeVar("AnswerT")


class User(Struct):
    """A user, in the answers of POST and GET."""

    id: int
    balance: float


class Accepted(Struct):
    """A payment that was accepted."""

    payment_id: int
    user_id: int
    status: Literal["processing"]
    deposit: float | None
    withdraw: float | None
    commission: float


class Payment(Struct):
    """A payment, in the answer of GET."""

    payment_id: int
    user_id: int
    type: Kind
    amount: float
    commission: float
    status: Literal["new", "processing", "success", "failed"]
    attempts: int
    last_error: str | None
    transaction_status: Literal["processing", "success", "failed"]
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Letter(Struct):
    """A dead letter."""

    id: int
    payment_id: int
    user_id: int
    amount: float
    commission: float
    payment_type: Kind
    error: str
    attempts: int
    created_at: datetime


class Refused(Struct):
    """A refusal with its reason."""

    detail: str


class Health(Struct):
    """The health of a service that is well."""

    status: Literal["ok"]
    database: Literal["ok"]


def read(answer: httpx.Response, status: int, wanted: type[AnswerT]) -> AnswerT:
    """Decode an answer as the client does. Its types tell null, numbers and text apart."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].partition(";")[0] in {"application/json", "application/problem+json"}
    return msgspec.json.decode(answer.content, type=wanted)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Yield a client of a service whose user 1 has money."""
    directory: Path = tmp_path_factory.mktemp("service")
    with serving(directory, **PATIENT) as service, Client(service.url) as client:
        client.post("/users/", {"balance": 1000})
        yield client


def follow(client: Client, payment_id: int) -> Payment:
    """Poll a payment until it has ended, and check that its status never goes back."""
    order = ["new", "processing", "success", "failed"]
    seen = ["new"]
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while (payment := read(client.http.get(f"/payments/{payment_id}"), 200, Payment)).status not in order[2:]:
        assert order.index(payment.status) >= order.index(seen[-1])
        assert payment.transaction_status == "processing"
        assert time.monotonic() < deadline
        seen.append(payment.status)
        time.sleep(0.02)
    assert payment.transaction_status == payment.status
    assert payment.next_retry_at is None
    return payment


def metrics(client: Client) -> dict[str, int]:
    """Read the metrics once the read models have caught up."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while any(model["lag"] for model in client.get("/health")["read_models"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return read(client.http.get("/metrics"), 200, dict[str, int])


def test_the_originals_scenario(tmp_path: Path) -> None:
    """A user, payments of every kind, their ends, and all counters."""
    with serving(tmp_path, **PATIENT) as service, Client(service.url) as client:
        run_the_scenario(client)


def run_the_scenario(client: Client) -> None:
    user = read(client.post("/users/", {"balance": 1000}), 201, User)
    assert (user.id, user.balance) == (1, 1000.0)

    # a deposit, and the same request again
    first = client.post("/payments/deposit", {"user_id": 1, "deposit": 200}, key=KEY)
    accepted = read(first, 202, Accepted)
    assert accepted == Accepted(1, 1, "processing", deposit=200.0, withdraw=None, commission=4.0)
    assert client.post("/payments/deposit", {"user_id": 1, "deposit": 200}, key=KEY).content == first.content
    paid = follow(client, 1)
    assert (paid.user_id, paid.type, paid.amount, paid.commission) == (1, "deposit", 200.0, 4.0)
    assert (paid.status, paid.attempts, paid.last_error) == ("success", 1, None)
    assert paid.created_at <= paid.updated_at
    assert read(client.http.get("/users/1"), 200, User).balance == 1196.0

    # a withdrawal
    withdrawn = read(client.post("/payments/withdraw", {"user_id": 1, "amount": 50}), 202, Accepted)
    assert (withdrawn.deposit, withdrawn.withdraw, withdrawn.commission) == (None, 50.0, 1.0)
    assert follow(client, withdrawn.payment_id).status == "success"
    assert read(client.http.get("/users/1"), 200, User).balance == 1145.0

    # too little money
    refused = client.post("/payments/withdraw", {"user_id": 1, "amount": 5000})
    detail = read(refused, 422, Refused).detail
    too_much = follow(client, int(detail.rpartition("payment_id=")[2]))
    assert (too_much.status, too_much.last_error, too_much.attempts) == ("failed", "insufficient_funds", 0)

    # a gateway that errs, one that times out, and one that declines
    erring, hanging, declining = (
        read(client.post("/payments/deposit", {"user_id": 1, "deposit": amount}), 202, Accepted).payment_id
        for amount in (9000.10, 9000.20, 9000.03)
    )
    for payment_id in (erring, hanging):
        payment = follow(client, payment_id)
        assert (payment.status, payment.attempts, payment.last_error) == ("success", 2, None)
    declined = follow(client, declining)
    assert (declined.status, declined.attempts, declined.last_error) == ("failed", 1, "gateway_error_402")
    assert read(client.http.get("/users/1"), 200, User).balance == 18785.3

    # dead letters, health and metrics
    (letter,) = read(client.http.get("/dlq"), 200, list[Letter])
    assert (letter.payment_id, letter.user_id, letter.payment_type) == (declining, 1, "deposit")
    assert (letter.amount, letter.commission) == (9000.03, 180.0)
    assert (letter.error, letter.attempts) == ("gateway_error_402", 1)
    assert read(client.http.get("/dlq", params={"limit": 1, "offset": 1}), 200, list[Letter]) == []
    assert read(client.http.get("/health"), 200, Health) == Health("ok", "ok")
    assert metrics(client) == {
        "payments_deposit_requests_total": 4,
        "payments_withdraw_requests_total": 2,
        "payments_task_enqueued_total": 5,
        "payments_processing_started_total": 7,
        "payments_success_total": 4,
        "payments_failed_total": 2,
        "payments_retried_total": 2,
        "gateway_success_total": 4,
        "gateway_timeouts_total": 1,
        "gateway_errors_total": 1,
        "gateway_non_retryable_errors_total": 1,
        "dlq_written_total": 1,
        "idempotency_hits_total": 1,
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/payments/deposit", {"user_id": 99, "deposit": 1}, 404),
        ("/payments/withdraw", {"user_id": 99, "amount": 1}, 404),
        ("/payments/deposit", {"user_id": 1, "deposit": 0}, 422),
        ("/payments/deposit", {"user_id": 1, "deposit": -1}, 422),
        ("/payments/withdraw", {"user_id": 1}, 422),
        ("/payments/withdraw", {"user_id": "one", "amount": 1}, 422),
        ("/users/", {"balance": -1}, 422),
    ],
)
def test_refusals_have_a_sentence(client: Client, path: str, body: Mapping[str, Any], status: int) -> None:
    """`detail` is always a string."""
    assert read(client.post(path, body), status, Refused).detail


def test_an_unknown_payment_is_404(client: Client) -> None:
    """The payment does not exist."""
    assert "77" in read(client.http.get("/payments/77"), 404, Refused).detail


@pytest.mark.parametrize(
    ("path", "content", "headers"),
    [
        ("/payments/deposit", b'{"user_id": 1, "deposit": 1}', {}),
        ("/payments/deposit/", b'{"user_id": 1, "deposit": 1}', {"Content-Type": "application/json"}),
        ("/payments/deposit", b'{"user_id": "1", "deposit": "1.00"}', {}),
        ("/payments/deposit", b'{"user_id": 1.0, "deposit": 1.0}', {"Idempotency-Key": ""}),
        ("/payments/withdraw/", b'{"user_id": 1, "amount": 1}', {"Content-Type": "application/json; charset=utf-8"}),
    ],
)
def test_requests_that_the_original_accepted_are_accepted(
    client: Client, path: str, content: bytes, headers: Mapping[str, str]
) -> None:
    """Ids as strings or floats, no content type, an empty key, and a trailing slash."""
    accepted = read(client.http.post(path, content=content, headers=headers), 202, Accepted)

    assert (accepted.user_id, accepted.deposit or accepted.withdraw) == (1, 1.0)


COMMENTED = {"user_id": 1, "deposit": 1, "comment": "thanks"}


def test_an_unknown_field_is_refused(client: Client) -> None:
    """One of the differences that the guide lists; no request of the original's scenario has such a field."""
    assert "comment" in read(client.post("/payments/deposit", COMMENTED), 422, Refused).detail


def test_unknown_fields_and_parameters_are_ignored_by_setting(tmp_path: Path) -> None:
    """A client that sends them works as it did."""
    with serving(tmp_path, **PATIENT, STRICT_INPUT="false") as service, Client(service.url) as lenient:
        lenient.post("/users/", {"balance": 1000})

        accepted = read(lenient.post("/payments/deposit?source=web", COMMENTED), 202, Accepted)

        assert (accepted.user_id, accepted.deposit) == (1, 1.0)


@pytest.mark.parametrize("path", ["/users", "/users/"])
def test_a_user_may_open_with_nothing(client: Client, path: str) -> None:
    """The balance may be left out, and a missing slash causes no redirect."""
    assert read(client.http.post(path, content=b"{}"), 201, User).balance == 0


def test_malformed_json_is_400(client: Client) -> None:
    """One of the differences that the README lists."""
    assert read(client.http.post("/users/", content=b"{"), 400, Refused).detail


def test_the_gateway_is_where_the_original_had_it(client: Client) -> None:
    """It is called as the original's tests call it."""
    payment = {"payment_id": 1_000_001, "user_id": 1, "amount": 9000.01, "commission": 180.0, "type": "deposit"}

    answer = client.post("/mock-gateway/pay", payment)

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["payment_id"] == 1_000_001
