"""The W3C trace context of a request is kept with its payment; anything else in its place is ignored."""

import httpx
import pytest

from api.input.trace_context import trace_context
from ledger.store.database import Database
from tests.api.resources.payment_requests import open_user
from tests.support.databases import execute

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (VALID, VALID),
        (f"00-{TRACE_ID}-{PARENT_ID}-00", f"00-{TRACE_ID}-{PARENT_ID}-00"),
        (f"cc-{TRACE_ID}-{PARENT_ID}-03", VALID),
        (f"cc-{TRACE_ID}-{PARENT_ID}-02-what-comes-later", f"00-{TRACE_ID}-{PARENT_ID}-00"),
        ("", None),
        (f"ff-{TRACE_ID}-{PARENT_ID}-01", None),
        (f"00-{'0' * 32}-{PARENT_ID}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (VALID.upper(), None),
        (f"{VALID}-more", None),
        (f"cc-{TRACE_ID}-{PARENT_ID}-01.more", None),
        (f" {VALID}", None),
        (f"{VALID}\n", None),
        (VALID[:-1], None),
    ],
)
def test_only_a_valid_context_counts(given: str, kept: str | None) -> None:
    """The form is that of the specification; a later version is passed on as version 00."""
    assert trace_context([given.encode()]) == kept


def test_two_contexts_are_none() -> None:
    """Nobody can say which of them the client means."""
    assert trace_context([VALID.encode(), VALID.encode()]) is None


@pytest.mark.anyio
async def test_the_context_is_stored_with_the_queue_entry_by_every_route(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A single payment has it, each payment of a batch has it, and a request without one has none."""
    await open_user(client, 1000)
    item = {"type": "deposit", "user_id": 1, "amount": 5}
    headers = {"traceparent": VALID}

    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers=headers)
    await client.post("/api/v1/payments/withdraw", json={"user_id": 1, "amount": 5}, headers=headers)
    await client.post("/api/v1/payments/batch", json={"payments": [item, item]}, headers=headers)
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5}, headers={"traceparent": "00-1-2"})
    await client.post("/api/v1/payments/deposit", json={"user_id": 1, "deposit": 5})

    stored = execute(database, "SELECT trace_context FROM gateway_queue ORDER BY payment_id")
    assert stored == [(VALID,)] * 4 + [(None,)] * 2
