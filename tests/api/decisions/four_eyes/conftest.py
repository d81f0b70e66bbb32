"""A service in which two keys have to agree, two operators, and what they send."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.settings import Settings
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.auth.conftest import Keys, bearer
from tests.api.decisions.letters import carry_out, deposit, make_in_doubt, opening
from tests.support.databases import fresh_ledger
from tests.support.gateways.scripted import NOT_FOUND, ScriptedGateway

WORDS = {"why": "the bank's statement has it", "by": "Ada"}
GRACE = {"by": "Grace"}
ADJUST = {"against": "suspense", "direction": "in", **WORDS}


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield a ledger with a payment in doubt."""
    with fresh_ledger(postgres_url) as database:
        writer = Writer(database)
        writer.start()
        carry_out(writer, [opening()])
        make_in_doubt(writer, deposit(), deposit())
        writer.stop()
        yield database


@pytest.fixture
def settings(gateway: ScriptedGateway) -> Settings:
    """Return the settings of a service in which two keys have to agree; the gateway does not know the payments."""
    gateway.scripts["GET"] = [NOT_FOUND]
    return Settings.load({"PAYMENT_GATEWAY_URL": gateway.url, "AUTH": "required", "OPERATE_FOUR_EYES": "true"})


@pytest.fixture
def ada(database: Database) -> str:
    """The key of the operator who asks."""
    return Keys(database).text("operate", "audit", "read")


@pytest.fixture
def grace(database: Database) -> str:
    """The key of the operator who approves."""
    return Keys(database).text("operate")


async def post(client: httpx.AsyncClient, path: str, body: Any, key: str, **headers: str) -> httpx.Response:
    return await client.post(f"/api/v1{path}", json=body, headers=bearer(key) | headers)


async def asked_to_force(client: httpx.AsyncClient, key: str, payment_id: int = 1) -> str:
    """Ask for a decision against the gateway, and return the id of the request."""
    body = {"outcome": "success", "force": True, **WORDS}
    answer = await post(client, f"/dlq/{payment_id}/resolve", body, key)
    assert (answer.status_code, answer.json()["state"]) == (202, "waits_for_approval")
    approval_id: str = answer.json()["approval_id"]
    assert answer.headers["Location"] == f"/api/v1/approvals/{approval_id}"
    return approval_id


async def approve(client: httpx.AsyncClient, approval_id: str, key: str) -> httpx.Response:
    """Approve a request as Grace."""
    return await post(client, f"/approvals/{approval_id}/approve", GRACE, key)


async def state_of(client: httpx.AsyncClient, approval_id: str, key: str) -> str:
    """Return the state in which the list shows a request."""
    listed = (await client.get("/api/v1/approvals", headers=bearer(key))).json()
    (state,) = [each["state"] for each in listed if each["id"] == approval_id]
    return str(state)
