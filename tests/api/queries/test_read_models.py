"""The read models of the real projector, as clients read them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from threading import Thread

import httpx
import pytest
from litestar import Litestar

from api.context import AppContext
from ledger.domain.commands import Fail, RecordGatewayOutcome, RetryAfter, Succeed
from ledger.store.database import Database
from projections.engine.projector import Projector

pytestmark = pytest.mark.anyio

SECONDS_MAX = 10.0


@pytest.fixture
async def projector(database: Database) -> AsyncIterator[Projector]:
    """Run a projector."""
    projector = Projector(database)
    thread = Thread(target=projector.run)
    thread.start()
    yield projector
    projector.stop()
    await asyncio.to_thread(thread.join)


@pytest.fixture
async def settled(app: Litestar, client: httpx.AsyncClient, projector: Projector) -> httpx.AsyncClient:  # noqa: ARG001
    """Return a client of a ledger where a deposit succeeded at the second attempt and a withdrawal failed."""
    context: AppContext = app.state["context"]
    await client.post("/api/v1/users", json={"balance": 1000})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 200})
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 50})
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 5000})
    for outcome in (
        _outcome(1, 1, attempt=1, outcome="turned_away", error="gateway_error_429", then=RetryAfter(1.0)),
        _outcome(1, 2, attempt=2, outcome="approved", then=Succeed()),
        _outcome(1025, 1, attempt=1, outcome="declined", error="gateway_error_400", then=Fail("gateway_error_400")),
    ):
        await context.execute(outcome.payment_id, outcome)

    async def caught_up() -> bool:
        models = (await client.get("/api/v1/health")).json()["read_models"]
        return not any(model["lag"] for model in models)

    await until(caught_up)
    return client


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(SECONDS_MAX):
        while not await condition():  # noqa: ASYNC110 - the projector sends no signal to wait for
            await asyncio.sleep(0.02)


def _outcome(payment_id: int, seen_version: int, **fields: object) -> RecordGatewayOutcome:
    shared: dict[str, object] = {"command_id": "test", "account_id": 1, "series": 1}
    key = {"gateway_key": f"payment-{payment_id}", "payment_id": payment_id, "seen_version": seen_version}
    return RecordGatewayOutcome(**shared, **key, **fields)  # type: ignore[arg-type]


async def test_a_settled_payment_is_read_as_the_original_had_it(settled: httpx.AsyncClient) -> None:
    """It is a success with its fee after two attempts, and the balance includes it."""
    payment = (await settled.get("/api/v1/payments/1")).json()
    user = await settled.get("/api/v1/users/1")

    assert (payment["status"], payment["transaction_status"]) == ("success", "success")
    assert (payment["commission"], payment["attempts"], payment["last_error"]) == (4, 2, None)
    assert user.content.startswith(b'{"id":1,"balance":1196.00,"available":1196.00,"held":0.00,"currency":"USD",')


async def test_failed_payments_say_why(settled: httpx.AsyncClient) -> None:
    """The reasons are the gateway's refusal and the lack of money."""
    answer = await settled.get("/api/v1/users/1/transactions", params={"status": "failed"})

    assert [(item["payment_id"], item["last_error"]) for item in answer.json()["items"]] == [
        (2049, "insufficient_funds"),
        (1025, "gateway_error_400"),
    ]


async def test_only_what_failed_at_the_gateway_is_a_dead_letter(settled: httpx.AsyncClient) -> None:
    """A payment refused for lack of money is not a dead letter, and a requeued one is not any more."""
    letters = (await settled.get("/api/v1/dlq")).json()
    await settled.post("/api/v1/dlq/1025/requeue", json={"why": "They said so by mistake", "by": "Ada"})

    async def none_left() -> bool:
        return not (await settled.get("/api/v1/dlq")).json()

    await until(none_left)
    assert [(letter["payment_id"], letter["state"], letter["error"]) for letter in letters] == [
        (1025, "failed", "gateway_error_400")
    ]


async def test_statement_and_trial_balance_show_all_movements(settled: httpx.AsyncClient) -> None:
    """They contain the opening and the deposit, and nothing else."""
    statement = (await settled.get("/api/v1/users/1/statement")).json()
    trial_balance = (await settled.get("/api/v1/audit/trial-balance")).json()

    assert [(item["payment_id"], item["amount"]) for item in statement["items"]] == [(None, 1000), (1, 196)]
    assert (statement["opening_balance"], statement["closing_balance"]) == (0, 1196)
    assert trial_balance["balanced"]
    assert trial_balance["currencies"][0]["fee_revenue"] == -4


async def test_metrics_have_counted_it(settled: httpx.AsyncClient) -> None:
    """The names mean what they meant in the original."""
    metrics = (await settled.get("/api/v1/metrics")).json()

    assert {name: value for name, value in metrics.items() if value} == {
        "payments_deposit_requests_total": 1,
        "payments_withdraw_requests_total": 2,
        "payments_task_enqueued_total": 2,
        "payments_processing_started_total": 3,
        "payments_success_total": 1,
        "payments_failed_total": 2,
        "payments_retried_total": 1,
        "gateway_success_total": 1,
        "gateway_errors_total": 1,
        "gateway_non_retryable_errors_total": 1,
        "dlq_written_total": 1,
    }


async def test_health_shows_the_projector(settled: httpx.AsyncClient, projector: Projector) -> None:
    """The projector's heartbeat is in the health document, and only the worker is missing."""
    health = (await settled.get("/api/v1/health")).json()

    assert health["wrong"] == ["no worker is alive"]
    assert [(part["part"], part["instance"]) for part in health["parts"]] == [("projector", projector.instance)]
