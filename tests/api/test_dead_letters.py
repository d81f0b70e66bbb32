"""Dead letters over HTTP: listed newest first, queued again or resolved by an operator, refused in another state."""

import httpx
import pytest
from litestar import Litestar

from api.parts import Parts
from ledger.commands import Fail, InquireAfter, RecordGatewayOutcome, RecordInquiry
from tests.api.seeds import Seeds

pytestmark = pytest.mark.anyio

WORDS = {"why": "The gateway was down", "by": "Ada"}


async def failed_payment(app: Litestar, client: httpx.AsyncClient, *, amount: int = 50) -> None:
    """Let payment 1, a withdrawal of user 1, be declined by the gateway."""
    parts: Parts = app.state["parts"]
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": amount})
    await parts.writer.execute(
        RecordGatewayOutcome(
            command_id="test",
            payment_id=1,
            account_id=1,
            seen_version=1,
            series=1,
            gateway_key="payment-1",
            attempt=1,
            outcome="declined",
            then=Fail("gateway_error_400"),
        )
    )


async def payment_in_doubt(app: Litestar, client: httpx.AsyncClient) -> None:
    """Let payment 1, a deposit of user 1, be parked."""
    parts: Parts = app.state["parts"]
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 50})
    shared = {"command_id": "test", "payment_id": 1, "account_id": 1, "series": 1, "gateway_key": "payment-1"}
    await parts.writer.execute(
        RecordGatewayOutcome(seen_version=1, attempt=1, outcome="unknown", then=InquireAfter(5.0), **shared)  # type: ignore[arg-type]
    )
    await parts.writer.execute(
        RecordInquiry(seen_version=2, inquiry=1, answer="no_clear_answer", then=InquireAfter(5.0), **shared)  # type: ignore[arg-type]
    )


async def test_dead_letters_are_listed_newest_first(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """With the position of what made them letters as their id."""
    seeds.letter(1, position=9)
    seeds.letter(1025, position=12, state="in_doubt")
    seeds.letter(2049, position=10, state="reconcile")

    whole = await client.get("/api/v1/dlq")
    page = await client.get("/api/v1/dlq/", params={"limit": 1, "offset": 1})

    assert [(item["id"], item["state"]) for item in whole.json()] == [
        (12, "in_doubt"),
        (10, "reconcile"),
        (9, "failed"),
    ]
    assert page.json() == [
        {
            "id": 10,
            "payment_id": 2049,
            "user_id": 1,
            "amount": 50,
            "commission": 1,
            "currency": "USD",
            "payment_type": "withdraw",
            "error": "gateway_error_502",
            "attempts": 3,
            "created_at": "2026-11-23T09:30:00.000000Z",
            "state": "reconcile",
        }
    ]


async def test_a_failed_payment_can_be_queued_again(app: Litestar, client: httpx.AsyncClient) -> None:
    """As a new series, with the reason and the operator in the log; a withdrawal's money is held anew."""
    await failed_payment(app, client)

    answer = await client.post("/api/v1/dlq/1/requeue", json=WORDS)

    assert (answer.status_code, answer.json()) == (202, {"payment_id": 1, "state": "processing"})
    last = (await client.get("/api/v1/payments/1/events")).json()["items"][-1]
    assert (last["topic"], last["by"], last["data"]["why"]) == ("payment.requeued", "Ada", "The gateway was down")
    assert last["data"]["gateway_key"] == "payment-1-2"
    assert (await client.get("/api/v1/users/1/balance")).json()["held"] == 51


async def test_a_requeue_that_the_account_cannot_cover_is_refused(app: Litestar, client: httpx.AsyncClient) -> None:
    """The money is meanwhile held for another payment."""
    await failed_payment(app, client)
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 60})

    answer = await client.post("/api/v1/dlq/1/requeue", json=WORDS)

    assert (answer.status_code, answer.json()["code"]) == (422, "insufficient_funds")


async def test_a_failed_letter_can_be_closed(app: Litestar, client: httpx.AsyncClient) -> None:
    """And then neither queued again nor closed again."""
    await failed_payment(app, client)

    closed = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS})
    requeued = await client.post("/api/v1/dlq/1/requeue", json=WORDS)
    again = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS})

    assert (closed.status_code, closed.json()) == (202, {"payment_id": 1, "state": "failed"})
    assert (requeued.status_code, requeued.json()["code"]) == (409, "not_requeueable")
    assert (again.status_code, again.json()["code"]) == (409, "not_resolvable")


@pytest.mark.parametrize(("outcome", "state", "balance"), [("success", "succeeded", 149), ("failed", "failed", 100)])
async def test_a_payment_in_doubt_can_be_resolved(
    app: Litestar, client: httpx.AsyncClient, outcome: str, state: str, balance: int
) -> None:
    """Either way, once; it cannot be queued again, because the money may have moved."""
    await payment_in_doubt(app, client)

    requeued = await client.post("/api/v1/dlq/1/requeue", json=WORDS)
    resolved = await client.post("/api/v1/dlq/1/resolve", json={"outcome": outcome, **WORDS})

    assert (requeued.status_code, requeued.json()["code"]) == (409, "not_requeueable")
    assert (resolved.status_code, resolved.json()["state"]) == (202, state)
    assert (await client.get("/api/v1/users/1/balance")).json()["balance"] == balance


@pytest.mark.parametrize("action", ["requeue", "resolve"])
async def test_a_payment_that_is_no_dead_letter_is_409(client: httpx.AsyncClient, action: str) -> None:
    """And an unknown one 404."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 50})
    body = {"outcome": "failed", **WORDS}

    new = await client.post(f"/api/v1/dlq/1/{action}", json=body)
    unknown = await client.post(f"/api/v1/dlq/77/{action}", json=body)

    assert new.status_code == 409
    assert "is new" in new.json()["detail"]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "payment_not_found")


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"why": ""}, "why"),
        ({"why": " \t"}, "why"),
        ({"why": "a\x00b"}, "why"),
        ({"why": "x" * 501}, "why"),
        ({"why": 5}, "why"),
        ({"by": "\x00"}, "by"),
        ({"by": None}, "by"),
        ({"outcome": "maybe"}, "outcome"),
    ],
)
async def test_words_that_cannot_be_kept_are_422(
    client: httpx.AsyncClient, changed: dict[str, object], path: str
) -> None:
    """The field is named."""
    answer = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS, **changed})

    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "offset=-1", "offset=1000001", "offset=x"])
async def test_a_page_of_letters_is_bounded(client: httpx.AsyncClient, query: str) -> None:
    """Limit and offset have their ranges."""
    answer = await client.get(f"/api/v1/dlq?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
