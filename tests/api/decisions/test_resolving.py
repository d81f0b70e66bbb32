"""A letter is resolved after the gateway was asked about it; its clear answer counts unless the operator forces it."""

from typing import Any

import httpx
import pytest

from api.operator.verification import verify
from ledger.domain.commands import Succeed
from ledger.operation.gateway import change_gateway
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.decisions.letters import (
    contradict,
    deposit,
    events_of,
    make_failed,
    make_in_doubt,
    opening,
    project,
)
from tests.support.gateways.scripted import DECLINED, NOT_FOUND, OK, PENDING, ScriptedGateway
from tests.support.ledgers.running_writer import inquiry

pytestmark = pytest.mark.anyio

WORDS = {"why": "it is in the report", "by": "Ada"}


@pytest.fixture(autouse=True)
def _user(writer: Writer) -> None:
    writer.submit(opening("1000")).result()


async def resolve(client: httpx.AsyncClient, outcome: str, payment_id: int = 1, **more: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if (key := more.pop("key", None)) else {}
    body = {"outcome": outcome, **WORDS, **more}
    return await client.post(f"/api/v1/dlq/{payment_id}/resolve", json=body, headers=headers)


@pytest.mark.parametrize(
    ("says", "answer", "outcome"),
    [
        (OK, "approved", "success"),
        (DECLINED, "declined", "failed"),
        (NOT_FOUND, "not_found", "failed"),
    ],
)
async def test_an_outcome_that_the_gateway_confirms_goes_through(
    client: httpx.AsyncClient,
    database: Database,
    writer: Writer,
    gateway: ScriptedGateway,
    says: bytes,
    answer: str,
    outcome: str,
) -> None:
    """The answer and the event say what the gateway said, under which key it was asked."""
    make_in_doubt(writer, deposit())
    gateway.scripts["GET"] = [says]

    resolved = await resolve(client, outcome)

    assert resolved.status_code == 202
    state = "succeeded" if outcome == "success" else "failed"
    assert resolved.json() == {"payment_id": 1, "state": state, "gateway": {"answer": answer, "error": None}}
    assert gateway.asked == [("GET", 1, "payment-1")]
    event = next(each for each in events_of(database) if each["topic"] == "payment.resolved")
    assert (event["data"]["gateway_answer"], "forced" in event["data"]) == (answer, False)
    project(database)
    assert verify(database).errors == []


@pytest.mark.parametrize(
    ("says", "answer", "outcome", "balance"),
    [
        (OK, "approved", "failed", 1000),
        (DECLINED, "declined", "success", 1196),
        (NOT_FOUND, "not_found", "success", 1196),
    ],
)
async def test_an_outcome_against_a_clear_answer_needs_force_which_is_recorded(
    client: httpx.AsyncClient,
    database: Database,
    writer: Writer,
    gateway: ScriptedGateway,
    says: bytes,
    answer: str,
    outcome: str,
    balance: int,
) -> None:
    """The refusal names the key and the answer, and changes nothing; so the same request may be sent with force."""
    make_in_doubt(writer, deposit())
    gateway.scripts["GET"] = [says]
    before = events_of(database)

    refused = await resolve(client, outcome, key="report-7")
    after_refusal = events_of(database)
    forced = await resolve(client, outcome, key="report-7", force=True)
    again = await resolve(client, outcome, key="report-7", force=True)

    assert (refused.status_code, refused.json()["code"]) == (409, "gateway_disagrees")
    assert answer in refused.json()["detail"]
    assert before == after_refusal
    assert (forced.status_code, forced.json()["forced"]) == (202, True)
    assert forced.json()["gateway"] == {"answer": answer, "error": None}
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (forced.json(), "true")
    assert len(gateway.asked) == 2
    event = next(each for each in events_of(database) if each["topic"] == "payment.resolved")
    assert (event["data"]["gateway_answer"], event["data"]["forced"], event["by"]) == (answer, True, "Ada")
    assert (await client.get("/api/v1/users/1/balance")).json()["balance"] == balance
    project(database)
    assert verify(database).errors == []


async def test_without_a_clear_answer_the_decision_goes_through_as_before(
    client: httpx.AsyncClient, writer: Writer, gateway: ScriptedGateway
) -> None:
    """A letter is in doubt because the gateway cannot say; the operator knows from elsewhere."""
    make_in_doubt(writer, deposit())
    gateway.scripts["GET"] = [PENDING]

    resolved = await resolve(client, "success")

    assert resolved.status_code == 202
    assert resolved.json()["gateway"] == {"answer": "no_clear_answer", "error": "pending"}
    assert "forced" not in resolved.json()


async def test_a_gateway_that_is_away_or_paused_is_named_and_the_decision_goes_through(
    client: httpx.AsyncClient, database: Database, writer: Writer, gateway: ScriptedGateway
) -> None:
    """At night, with the gateway down, an operator with the bank's statement can still decide."""
    make_in_doubt(writer, deposit(), deposit())
    change_gateway(database, "paused", why="maintenance", by="Ada")

    paused = await resolve(client, "success")
    asked_while_paused = list(gateway.asked)
    change_gateway(database, "resumed", why="over", by="Ada")
    gateway.__exit__()
    away = await resolve(client, "failed", 1025)

    assert (paused.status_code, away.status_code) == (202, 202)
    assert paused.json()["gateway"] == {"answer": None, "error": "gateway_paused"}
    assert asked_while_paused == []
    assert away.json()["gateway"]["answer"] == "no_clear_answer"
    assert away.json()["gateway"]["error"] in {"connection_refused", "connection_lost"}


async def test_a_failed_letter_is_not_closed_when_the_gateway_has_moved_the_money(
    client: httpx.AsyncClient, writer: Writer, gateway: ScriptedGateway
) -> None:
    """A requeue asks first, and settles it."""
    make_failed(writer, deposit())
    gateway.scripts["GET"] = [OK]

    assert (await resolve(client, "failed")).json()["code"] == "gateway_disagrees"
    gateway.scripts["GET"] = [NOT_FOUND]
    assert (await resolve(client, "failed")).status_code == 202


async def test_a_contradiction_is_asked_about_under_its_own_key(
    client: httpx.AsyncClient, writer: Writer, gateway: ScriptedGateway
) -> None:
    """The gateway still says that the money moved, so `failed` would claim that it is back."""
    make_failed(writer, deposit())
    contradict(writer, 1)
    gateway.scripts["GET"] = [OK]

    refused = await resolve(client, "failed")
    settled = await resolve(client, "success")

    assert refused.json()["code"] == "gateway_disagrees"
    assert settled.json()["state"] == "succeeded"
    assert gateway.of("GET") == [(1, "payment-1"), (1, "payment-1")]


async def test_what_cannot_be_is_refused_without_asking(
    client: httpx.AsyncClient, writer: Writer, gateway: ScriptedGateway
) -> None:
    """A failed letter has no success, a payment under way no letter, and an unknown payment nothing."""
    make_failed(writer, deposit())
    writer.submit(deposit()).result()

    codes = [
        (await resolve(client, "success")).json()["code"],
        (await resolve(client, "failed", 1025)).json()["code"],
        (await resolve(client, "failed", 7)).json()["code"],
    ]

    assert codes == ["not_resolvable", "not_resolvable", "payment_not_found"]
    assert gateway.asked == []


async def test_a_payment_that_changes_while_the_gateway_is_asked_is_asked_about_again(
    client: httpx.AsyncClient, writer: Writer, gateway: ScriptedGateway
) -> None:
    """A worker's inquiry settles the payment at that time; the decision then finds no letter."""
    make_in_doubt(writer, deposit())

    def settle_meanwhile() -> bytes:
        writer.submit(inquiry(seen_version=4, inquiry=2, answer="approved", then=Succeed())).result()
        return NOT_FOUND

    gateway.scripts["GET"] = [settle_meanwhile]

    answer = await resolve(client, "failed")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_resolvable")
    assert (await client.get("/api/v1/users/1/balance")).json()["balance"] == 1196
