"""Payments over HTTP: accepted with exact amounts and fees, or refused with a reason."""

from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from api.http.problems import too_little_money
from api.settings import Settings
from ledger.domain.commands import PaymentAcceptance
from tests.api.resources.payment_requests import KEY, open_user, raw_fields

pytestmark = pytest.mark.anyio


async def test_the_originals_scenario(client: httpx.AsyncClient) -> None:
    """The first user and the first payment have id 1, and the same request again returns the same payment."""
    user = await client.post("/api/v1/users/", json={"balance": 1000})
    first = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200}, headers={"Idempotency-Key": KEY}
    )
    again = await client.post(
        "/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200}, headers={"Idempotency-Key": KEY}
    )
    payment = await client.get("/api/v1/payments/1")

    assert (user.status_code, user.headers["location"]) == (201, "/api/v1/users/1")
    assert user.content == b'{"id":1,"balance":1000.00,"available":1000.00,"held":0.00,"currency":"USD"}'
    assert (first.status_code, first.headers["location"]) == (202, "/api/v1/payments/1")
    fields = raw_fields(first)
    created_at = fields.pop("created_at")
    assert fields == {
        "payment_id": "1",
        "user_id": "1",
        "type": '"deposit"',
        "status": '"processing"',
        "amount": "200.00",
        "deposit": "200.00",
        "withdraw": "null",
        "commission": "4.00",
        "currency": '"USD"',
    }
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert payment.status_code == 200
    assert raw_fields(payment) == {
        "payment_id": "1",
        "user_id": "1",
        "type": '"deposit"',
        "amount": "200.00",
        "commission": "4.00",
        "currency": '"USD"',
        "status": '"new"',
        "attempts": "0",
        "last_error": "null",
        "transaction_status": '"processing"',
        "next_retry_at": "null",
        "created_at": created_at,
        "updated_at": created_at,
    }


async def test_a_withdrawal_has_its_amount_under_withdraw(client: httpx.AsyncClient) -> None:
    """The fee is added, and the deposit's field is null."""
    await open_user(client)

    answer = await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 50})

    fields = raw_fields(answer)
    assert answer.status_code == 202
    assert (fields["withdraw"], fields["deposit"], fields["commission"]) == ("50.00", "null", "1.00")


async def test_too_little_money_is_422_and_recorded_as_failed(client: httpx.AsyncClient) -> None:
    """The refusal names the payment, a replay is equal byte for byte, and the payment can be read at once."""
    await open_user(client, 50)
    request = {"user_id": 1, "amount": 50}

    first = await client.post("/api/v1/payments/withdraw", json=request, headers={"Idempotency-Key": "k"})
    again = await client.post("/api/v1/payments/withdraw", json=request, headers={"Idempotency-Key": "k"})
    payment = await client.get("/api/v1/payments/1")

    problem = first.json()
    assert first.status_code == 422
    assert first.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["type"]) == ("insufficient_funds", "/problems/insufficient_funds")
    assert problem["payment_id"] == 1
    assert (raw_fields(first)["available"], raw_fields(first)["needed"]) == ("50.00", "51.00")
    assert problem["currency"] == "USD"
    assert problem["errors"][0]["path"] == "amount"
    assert problem["detail"].endswith("payment_id=1")
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (payment.json()["status"], payment.json()["last_error"]) == ("failed", "insufficient_funds")


async def test_the_numbers_of_a_refusal_are_those_of_its_time(client: httpx.AsyncClient) -> None:
    """A replay gets the first answer byte for byte, although the account has other money by then."""
    await open_user(client, 50)
    request, key = {"user_id": 1, "amount": 50}, {"Idempotency-Key": "k"}

    first = await client.post("/api/v1/payments/withdraw", json=request, headers=key)
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 20})
    again = await client.post("/api/v1/payments/withdraw", json=request, headers=key)
    later = await client.post("/api/v1/payments/withdraw", json=request)

    assert again.content == first.content
    assert raw_fields(again)["available"] == "50.00"
    assert raw_fields(later)["available"] == "29.60"


def test_a_refusal_of_the_first_versions_is_answered_as_then() -> None:
    """Its events have no numbers, so a replay has none either."""
    accepted = PaymentAcceptance(1, 1, "withdraw", 5000, 100, "USD", requested_at=datetime.now(UTC), refused=True)

    assert msgspec.to_builtins(too_little_money(accepted)) == {
        "type": "/problems/insufficient_funds",
        "title": "Too little money is available",
        "status": 422,
        "code": "insufficient_funds",
        "detail": "The amount with its fee is more than the available balance; send a smaller amount, or wait for a "
        "deposit. The payment was recorded as failed: payment_id=1",
        "errors": [{"path": "amount", "message": "is, with its fee, more than the available balance"}],
        "payment_id": 1,
    }


@pytest.mark.parametrize(
    ("currency", "amount", "written", "fee"),
    [
        ("USD", "200", "200.00", "4.00"),
        ("USD", "2e2", "200.00", "4.00"),
        ("USD", "0.01", "0.01", "0.00"),
        ("USD", '"200.00"', "200.00", "4.00"),
        ("USD", "200.000", "200.00", "4.00"),
        ("JPY", "200", "200", "4"),
        ("JPY", "200.0", "200", "4"),
        ("BHD", "200.125", "200.125", "4.003"),
        ("CLF", "0.0050", "0.0050", "0.0001"),
        ("USD", "9007199254740.99", "9007199254740.99", "180143985094.82"),
    ],
)
async def test_amounts_go_in_and_come_out_exactly(
    client: httpx.AsyncClient, currency: str, amount: str, written: str, fee: str
) -> None:
    """Amounts are numbers or strings, in currencies of any decimals, and never become floats."""
    await open_user(client, 0, currency=currency)

    answer = await client.post(
        "/api/v1/payments/deposit",
        content=f'{{"user_id": 1, "deposit": {amount}}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 202, answer.text
    assert (raw_fields(answer)["deposit"], raw_fields(answer)["commission"]) == (written, fee)


@pytest.mark.parametrize(("route", "field"), [("deposit", "deposit"), ("withdraw", "amount")])
async def test_a_payment_for_an_unknown_user_is_404(client: httpx.AsyncClient, route: str, field: str) -> None:
    """Nothing is recorded for an unknown user."""
    answer = await client.post(f"/api/v1/payments/{route}", json={"user_id": 9, field: 1})

    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


@pytest.mark.parametrize("path", ["/api/v1/payments/deposit", "/api/v1/payments/deposit/", "/api/v1/payments//deposit"])
async def test_a_trailing_slash_makes_no_difference(client: httpx.AsyncClient, path: str) -> None:
    """A slash causes no redirect."""
    await open_user(client)

    answer = await client.post(path, json={"user_id": 1, "deposit": 5})

    assert answer.status_code == 202


async def test_an_account_cannot_be_brought_above_its_limit(client: httpx.AsyncClient) -> None:
    """The deposit is refused before any money moves."""
    await open_user(client, "10000000000000")
    for _ in range(8):
        await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10000000000000"})

    answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10000000000000"})

    assert (answer.status_code, answer.json()["code"]) == (422, "balance_limit_exceeded")


class TestFee:
    """The fee rate is a setting."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Charge 1.75 percent."""
        return Settings.load({"TRANSACTION_FEE": "1.75"})

    async def test_the_fee_follows_the_setting(self, client: httpx.AsyncClient) -> None:
        """The fee is rounded half up."""
        await open_user(client)

        answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": "10.00"})

        assert raw_fields(answer)["commission"] == "0.18"
