"""The gateway as a whole over HTTP: it is looked at, paused and resumed, and every change says who and why."""

import httpx
import pytest

from ledger.operation.gateway import change_gateway
from ledger.store.database import Database
from tests.support.databases import execute

pytestmark = pytest.mark.anyio

PAUSE = {"why": "Their maintenance", "by": "Ada"}


async def test_a_gateway_that_is_called_is_closed(client: httpx.AsyncClient) -> None:
    """Closed is the word for a circuit breaker that lets calls through."""
    answer = await client.get("/api/v1/gateway")

    assert answer.status_code == 200
    assert answer.json() == {"state": "closed", "paused": None, "open": None, "probe_at": None, "held_until": None}


async def test_a_pause_is_shown_until_it_is_ended(client: httpx.AsyncClient) -> None:
    """With its reason, its author and its time."""
    paused = await client.post("/api/v1/gateway/pause", json=PAUSE)
    seen = await client.get("/api/v1/gateway")
    resumed = await client.post("/api/v1/gateway/resume", json={"why": "They are done", "by": "Grace"})

    assert (paused.status_code, resumed.status_code) == (200, 200)
    assert paused.json() == seen.json()
    assert (seen.json()["state"], resumed.json()["state"]) == ("paused", "closed")
    assert seen.json()["paused"]["why"] == PAUSE["why"]
    assert seen.json()["paused"]["by"] == PAUSE["by"]
    assert seen.json()["paused"]["since"].endswith("Z")


async def test_a_second_pause_changes_nothing(client: httpx.AsyncClient, database: Database) -> None:
    """The first reason stays, and the log has one event, which names the request."""
    first = await client.post("/api/v1/gateway/pause", json=PAUSE, headers={"X-Request-ID": "r-1"})
    second = await client.post("/api/v1/gateway/pause", json={"why": "again", "by": "Grace"})

    assert first.json() == second.json()
    statement = "SELECT convert_from(state, 'UTF8')::jsonb->>'command_id' FROM events WHERE originator_id = 'operation'"
    assert execute(database, statement) == [("r-1",)]


async def test_an_open_breaker_and_a_hold_are_shown(client: httpx.AsyncClient, database: Database) -> None:
    """A pause is named first."""
    execute(database, "UPDATE gateway_state SET held_until = now() + interval '20 seconds'", owner=True)
    held = (await client.get("/api/v1/gateway")).json()
    change_gateway(database, "breaker_opened", why="20 calls in a row failed, the last: timeout")
    opened = (await client.get("/api/v1/gateway")).json()
    paused = (await client.post("/api/v1/gateway/pause", json=PAUSE)).json()

    assert (held["state"], opened["state"], paused["state"]) == ("held", "open", "paused")
    assert held["held_until"] == opened["held_until"]
    assert opened["open"]["why"] == "20 calls in a row failed, the last: timeout"
    assert opened["open"]["by"] is None
    assert opened["probe_at"] is not None
    assert paused["open"] == opened["open"]


@pytest.mark.parametrize(
    "body", [{}, {"why": "x"}, {"why": "", "by": "Ada"}, {"why": "x", "by": "Ada", "until": "ten"}]
)
async def test_a_change_without_a_reason_or_an_author_is_refused(
    client: httpx.AsyncClient, database: Database, body: dict[str, str]
) -> None:
    """Nothing is paused."""
    answer = await client.post("/api/v1/gateway/pause", json=body)

    assert answer.status_code == 422
    assert execute(database, "SELECT paused_at FROM gateway_state") == [(None,)]


async def test_payments_are_accepted_while_the_gateway_is_paused(client: httpx.AsyncClient) -> None:
    """They wait in the queue."""
    await client.post("/api/v1/users", json={"balance": 100})
    await client.post("/api/v1/gateway/pause", json=PAUSE)

    answer = await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5})

    assert answer.status_code == 202


async def test_a_copy_is_not_operated(client: httpx.AsyncClient, database: Database) -> None:
    """The original ledger may be at work."""
    execute(database, "UPDATE log_head SET inactive = true", owner=True)

    answer = await client.post("/api/v1/gateway/pause", json=PAUSE)

    assert (answer.status_code, answer.json()["code"]) == (503, "store_inactive")
