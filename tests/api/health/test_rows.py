"""The rows of the health table that the database shows: each is brought about in it, seen, and seen gone."""

from collections.abc import Sequence
from contextlib import closing
from typing import Final, LiteralString

import httpx
import pytest

from api.app import create_app
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.api.conftest import BASE_URL
from tests.support.databases import execute
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

AN_OLD_EVENT: Final = """
UPDATE events
   SET state = convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb, '{at}', to_jsonb(now() - interval '2 minutes'))
                          ::text, 'UTF8')
 WHERE notification_id = 1
"""

ROWS: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "stream_set_aside": (
        "INSERT INTO projection_set_aside VALUES ('read_models', 'payment-1', 1, 7, 'poison')",
        "DELETE FROM projection_set_aside",
    ),
    "read_model_not_filled": (
        "UPDATE projection_tracking SET models = '{counters}' WHERE name = 'read_models'",
        (
            "UPDATE projection_tracking SET models = '{payment_status,account_balance,journal,dead_letter}'"
            " WHERE name = 'read_models'"
        ),
    ),
    "read_model_stopped": (
        "UPDATE projection_tracking SET stopped_at_position = 7, stopped_because = 'poison' WHERE name = 'counters'",
        "UPDATE projection_tracking SET stopped_at_position = NULL, stopped_because = NULL",
    ),
    "read_models_behind": (
        AN_OLD_EVENT,
        "UPDATE projection_tracking SET position = 1",
    ),
    "inactive": ("UPDATE log_head SET inactive = true", "UPDATE log_head SET inactive = false"),
    "log_ahead_of_clock": (
        "UPDATE log_head SET at = now() + interval '1 minute'",
        "UPDATE log_head SET at = now()",
    ),
    "no_worker": (
        "UPDATE heartbeats SET at = now() - interval '11 seconds' WHERE part = 'worker'",
        "UPDATE heartbeats SET at = now()",
    ),
    "no_projector": ("DELETE FROM heartbeats WHERE part = 'projector'", "SELECT"),
    "gateway_paused": (
        "UPDATE gateway_state SET paused_at = now(), paused_why = 'maintenance'",
        "UPDATE gateway_state SET paused_at = NULL, paused_why = NULL",
    ),
    "gateway_away": (
        "UPDATE gateway_state SET opened_at = now(), opened_why = 'away', probe_at = now()",
        "UPDATE gateway_state SET opened_at = NULL, opened_why = NULL, probe_at = NULL",
    ),
    "payments_overdue": (
        "UPDATE gateway_queue SET due_at = now() - interval '90 minutes'",
        "UPDATE gateway_queue SET due_at = now()",
    ),
    "in_doubt_too_long": (
        "UPDATE dead_letter SET state = 'in_doubt', created_at = now() - interval '25 hours'",
        "UPDATE dead_letter SET created_at = now() - interval '23 hours'",
    ),
    "letters_not_looked_at": (
        "UPDATE dead_letter SET state = 'failed', created_at = now() - interval '25 hours'",
        "UPDATE dead_letter SET created_at = now() - interval '23 hours'",
    ),
}
"""For each row, a statement that makes it true and one that makes it false again."""


async def names(client: httpx.AsyncClient) -> list[str]:
    """Ask `/health` which rows are true; again while the database is slow, as it may be on a busy machine."""
    while (health := (await client.get("/api/v1/health")).json())["database"] == "slow":
        pass
    return [finding["name"] for finding in health["findings"]]


@pytest.mark.parametrize("row", ROWS)
async def test_a_row_is_true_and_then_false(
    client: httpx.AsyncClient, database: Database, seeds: Seeds, row: str
) -> None:
    """Before, nothing is wrong; then this row and no other; in the end nothing again."""
    make, undo = ROWS[row]
    seeds.heartbeat("worker", "host:1:a")
    seeds.heartbeat("projector", "host:2:b")
    seeds.letter(2, position=4)
    await client.post("/api/v1/users", json={"balance": 1})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 1})
    execute(database, "UPDATE dead_letter SET created_at = now()", owner=True)

    before = await names(client)
    execute(database, make, owner=True)
    during = await names(client)
    execute(database, "INSERT INTO heartbeats VALUES ('projector', 'b', now()) ON CONFLICT DO NOTHING", owner=True)
    execute(database, undo, owner=True)
    after = await names(client)

    assert (before, {*during}, after) == ([], {row}, [])


@pytest.mark.parametrize(("value", "found"), [("off", ["durability_off"]), ("on", [])])
async def test_durability_that_is_off_is_named(
    settings: Settings, database: Database, seeds: Seeds, value: str, found: Sequence[str]
) -> None:
    """Also after the start, when somebody reloads the server with other settings."""
    seeds.heartbeat("worker", "host:1:a")
    seeds.heartbeat("projector", "host:2:b")
    url = f"{database.url}&options=-c%20synchronous_commit%3D{value}"
    app = create_app(settings, Partitions.whole(Database(url, database.schema)))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        assert await names(client) == found


async def test_a_database_that_answers_nothing_for_a_while_is_slow_until_it_is_silent_for_long(
    client: httpx.AsyncClient, database: Database
) -> None:
    """It has answered a moment ago; requests go on to be sent to it."""
    await client.get("/api/v1/health")
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE log_head, gateway_queue IN ACCESS EXCLUSIVE MODE")

        health = (await client.get("/api/v1/health")).json()
        connection.execute("ROLLBACK")

    assert (health["database"], next(each["name"] for each in health["findings"])) == ("slow", "database_slow")
    assert health["position"] is None


async def test_a_first_answer_that_is_late_is_slow_too(client: httpx.AsyncClient, database: Database) -> None:
    """On a busy machine the first status of all may take more than a second."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE log_head, gateway_queue IN ACCESS EXCLUSIVE MODE")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1500ms'")

        health = (await client.get("/api/v1/health")).json()

    assert health["database"] == "slow"
