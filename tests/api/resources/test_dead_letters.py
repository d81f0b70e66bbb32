"""Dead letters over HTTP: listed newest first, and requeued or resolved by an operator if their state allows it."""

import httpx
import pytest
from litestar import Litestar

from api.context import AppContext
from ledger.domain.commands import Fail, InquireAfter, RecordGatewayOutcome, RecordInquiry
from ledger.domain.identifiers import without_salt
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

WORDS = {"why": "The gateway was down", "by": "Ada"}


async def failed_payment(app: Litestar, client: httpx.AsyncClient, *, amount: int = 50) -> None:
    """Let the gateway decline payment 1, a withdrawal of user 1."""
    context: AppContext = app.state["context"]
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": amount})
    await context.only.writer.execute(
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
    context: AppContext = app.state["context"]
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 50})
    shared = {"command_id": "test", "payment_id": 1, "account_id": 1, "series": 1, "gateway_key": "payment-1"}
    await context.only.writer.execute(
        RecordGatewayOutcome(seen_version=1, attempt=1, outcome="unknown", then=InquireAfter(5.0), **shared)  # type: ignore[arg-type]
    )
    await context.only.writer.execute(
        RecordInquiry(seen_version=2, inquiry=1, answer="no_clear_answer", then=InquireAfter(5.0), **shared)  # type: ignore[arg-type]
    )


async def test_dead_letters_are_listed_newest_first(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """The id of a letter is the position of its failure or parking."""
    seeds.letter(1, position=9)
    seeds.letter(1025, position=12, state="in_doubt")
    seeds.letter(2049, position=10, state="contradicted")

    whole = await client.get("/api/v1/dlq")
    page = await client.get("/api/v1/dlq/", params={"limit": 1, "offset": 1})

    assert [(item["id"], item["state"]) for item in whole.json()] == [
        (12, "in_doubt"),
        (10, "contradicted"),
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
            "state": "contradicted",
        }
    ]


async def test_a_failed_payment_can_be_requeued(app: Litestar, client: httpx.AsyncClient) -> None:
    """It starts a new series. The reason and the operator are in the log, and a withdrawal's amount is held again."""
    await failed_payment(app, client)

    answer = await client.post("/api/v1/dlq/1/requeue", json=WORDS)

    assert (answer.status_code, answer.json()) == (202, {"payment_id": 1, "state": "processing"})
    last = (await client.get("/api/v1/payments/1/events")).json()["items"][-1]
    assert (last["topic"], last["by"], last["data"]["why"]) == ("payment.requeued", "Ada", "The gateway was down")
    assert without_salt(last["data"]["gateway_key"]) == "payment-1-2"
    assert (await client.get("/api/v1/users/1/balance")).json()["held"] == 51


async def test_a_requeue_that_the_account_cannot_cover_is_refused(app: Litestar, client: httpx.AsyncClient) -> None:
    """Another payment holds the money."""
    await failed_payment(app, client)
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 60})

    answer = await client.post("/api/v1/dlq/1/requeue", json=WORDS)

    assert (answer.status_code, answer.json()["code"]) == (422, "insufficient_funds")
    assert b'"available":38.80,"needed":51.00,"currency":"USD"' in answer.content


async def test_a_failed_letter_can_be_closed(app: Litestar, client: httpx.AsyncClient) -> None:
    """After that it can be neither requeued nor closed again."""
    await failed_payment(app, client)

    closed = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS})
    requeued = await client.post("/api/v1/dlq/1/requeue", json=WORDS)
    again = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS})

    away = {"answer": "no_clear_answer", "error": "connection_refused"}
    assert (closed.status_code, closed.json()) == (202, {"payment_id": 1, "state": "failed", "gateway": away})
    assert (requeued.status_code, requeued.json()["code"]) == (409, "not_requeueable")
    assert (again.status_code, again.json()["code"]) == (409, "not_resolvable")


@pytest.mark.parametrize(("outcome", "state", "balance"), [("success", "succeeded", 149), ("failed", "failed", 100)])
async def test_a_payment_in_doubt_can_be_resolved(
    app: Litestar, client: httpx.AsyncClient, outcome: str, state: str, balance: int
) -> None:
    """It can be resolved either way, once. It cannot be requeued, because the money may have moved."""
    await payment_in_doubt(app, client)

    requeued = await client.post("/api/v1/dlq/1/requeue", json=WORDS)
    resolved = await client.post("/api/v1/dlq/1/resolve", json={"outcome": outcome, **WORDS})

    assert (requeued.status_code, requeued.json()["code"]) == (409, "not_requeueable")
    assert (resolved.status_code, resolved.json()["state"]) == (202, state)
    assert (await client.get("/api/v1/users/1/balance")).json()["balance"] == balance


@pytest.mark.parametrize(
    ("action", "state", "topic"),
    [("requeue", "processing", "payment.requeued"), ("resolve", "failed", "payment.resolved")],
)
async def test_a_decision_sent_again_with_its_key_is_carried_out_once(
    app: Litestar, client: httpx.AsyncClient, action: str, state: str, topic: str
) -> None:
    """The first answer comes again, as after an answer that was lost."""
    await failed_payment(app, client)
    body = {**({"outcome": "failed"} if action == "resolve" else {}), **WORDS}
    headers = {"Idempotency-Key": "decision-1"}

    first = await client.post(f"/api/v1/dlq/1/{action}", json=body, headers=headers)
    again = await client.post(f"/api/v1/dlq/1/{action}", json=body, headers=headers)
    bare = await client.post(f"/api/v1/dlq/1/{action}", json=body)

    assert first.status_code == 202
    assert first.json().items() >= {"payment_id": 1, "state": state}.items()
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert bare.status_code == 409
    topics = [event["topic"] for event in (await client.get("/api/v1/payments/1/events")).json()["items"]]
    assert topics.count(topic) == 1


async def test_a_key_of_another_decision_is_refused(app: Litestar, client: httpx.AsyncClient) -> None:
    """A text that cannot be a key is refused too."""
    await failed_payment(app, client)
    headers = {"Idempotency-Key": "decision-1"}
    await client.post("/api/v1/dlq/1/requeue", json=WORDS, headers=headers)

    other = await client.post("/api/v1/dlq/1/resolve", json={"outcome": "failed", **WORDS}, headers=headers)
    unreadable = await client.post("/api/v1/dlq/1/requeue", json=WORDS, headers={"Idempotency-Key": "x" * 256})

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (unreadable.status_code, unreadable.json()["code"]) == (422, "idempotency_key_invalid")


@pytest.mark.parametrize("action", ["requeue", "resolve"])
async def test_a_payment_that_is_no_dead_letter_is_409(client: httpx.AsyncClient, action: str) -> None:
    """An unknown payment is 404."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 50})
    body = {**({"outcome": "failed"} if action == "resolve" else {}), **WORDS}

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
async def test_texts_that_cannot_be_stored_are_422(
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


async def test_what_the_gateway_did_beside_a_payments_end_is_booked(app: Litestar, client: httpx.AsyncClient) -> None:
    """A withdrawal that was paid out late is the user's to pay, and can be given back; each event says why."""
    await failed_payment(app, client)

    async def adjust(**body: str) -> httpx.Response:
        key = {"Idempotency-Key": f"statement {body}"}
        return await client.post("/api/v1/dlq/1/adjust", json={"against": "account", **body, **WORDS}, headers=key)

    booked = await adjust(amount="12.50")
    again = await adjust(amount="12.50")
    back = await adjust(direction="in")
    keyless = await client.post("/api/v1/dlq/1/adjust", json={"against": "account", **WORDS})
    events = (await client.get("/api/v1/payments/1/events")).json()["items"]
    last = events[-1]["position"] + 1  # the account's event follows the payment's
    balance = (await client.get(f"/api/v1/users/1/balance?position={last}")).json()["balance"]

    assert balance == 100 - 12.5 + 50
    assert (booked.status_code, booked.json()) == (202, {"payment_id": 1, "state": "adjusted"})
    assert (again.content, again.headers["Idempotent-Replayed"]) == (booked.content, "true")
    assert back.status_code == 202
    assert (keyless.status_code, keyless.json()["code"]) == (422, "idempotency_key_missing")
    assert [each["topic"] for each in events][-2:] == ["payment.adjusted", "payment.adjusted"]
    assert (events[-2]["by"], events[-2]["data"]["why"]) == ("Ada", WORDS["why"])
    assert [(each["data"]["direction"], each["data"]["amount_minor"]) for each in events[-2:]] == [
        ("out", 1_250),
        ("in", 5_000),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"against": "account", "amount": 1000}, "insufficient_funds"),
        ({"against": "nobody"}, "request_invalid"),
        ({"against": "suspense", "amount": "1.001"}, "amount_invalid"),
        ({"against": "suspense", "gateway_key": "payment-1-7"}, "contradiction_not_named"),
    ],
)
async def test_what_cannot_be_booked_is_refused(
    app: Litestar, client: httpx.AsyncClient, body: dict[str, object], code: str
) -> None:
    """With the code of its reason, and nothing is written."""
    await failed_payment(app, client)

    answer = await client.post("/api/v1/dlq/1/adjust", json={**body, **WORDS})

    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_a_payment_on_its_way_is_not_adjusted(client: httpx.AsyncClient) -> None:
    """The gateway may still move its money."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 50})

    answer = await client.post("/api/v1/dlq/1/adjust", json={"against": "suspense", **WORDS})

    assert (answer.status_code, answer.json()["code"]) == (409, "not_adjustable")
