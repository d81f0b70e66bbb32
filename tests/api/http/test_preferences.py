"""`Prefer: amounts=string`: all amounts of an answer as strings, on every route that shows amounts."""

import asyncio
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from api.auth.key_store import create_key
from api.auth.keys import sender
from api.decisions.approvals import ask_approval
from api.http.responses import AMOUNTS_AS_STRINGS
from ledger.domain.commands import AdjustPayment
from ledger.store.database import Database
from tests.api.resources.test_dead_letters import failed_payment
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

STRINGS = {"Prefer": "amounts=string"}


def as_strings(content: Any) -> Any:
    """Write the amounts of an answer, which were read as decimals, as strings."""
    match content:
        case Decimal():
            return str(content)
        case dict():
            return {name: as_strings(value) for name, value in content.items()}
        case list():
            return [as_strings(value) for value in content]
        case _:
            return content


PATHS = (
    *("users/1", "users/1/balance", "users/1/transactions", "users/1/statement"),
    *("payments", "payments/1", "dlq", "audit/trial-balance"),
    *("approvals", "approvals/{approval_id}", "audit/approvals"),
)


def shows_amounts(document: Any, schema: Any) -> bool:
    """Whether a schema has an amount, itself or in a schema that it refers to."""
    match schema:
        case {"$ref": str() as reference}:
            return shows_amounts(document, document["components"]["schemas"][reference.rpartition("/")[2]])
        case {"type": "number", "description": str() as description} if AMOUNTS_AS_STRINGS in description:
            return True
        case dict():
            return any(shows_amounts(document, value) for value in schema.values())
        case list():
            return any(shows_amounts(document, value) for value in schema)
        case _:
            return False


async def test_no_route_that_shows_amounts_is_left_out(client: httpx.AsyncClient) -> None:
    """The OpenAPI document says which routes do."""
    document = (await client.get("/docs/openapi.json")).json()
    routes = {path: methods["get"] for path, methods in document["paths"].items() if "get" in methods}
    showing = {path for path, route in routes.items() if shows_amounts(document, route["responses"]["200"])}

    kept = {"{approval_id}"}
    shown = {re.sub(r"{\w+}", lambda name: name[0] if name[0] in kept else "1", path) for path in showing}
    assert shown == {f"/api/v1/{path}" for path in PATHS}


def given_request(database: Database) -> str:
    """Store a request for a booking that waits for a second key, and return its id."""
    by = sender(create_key(database, name="Ada", scopes=["operate"]).key.key_id)
    facts = {"command_id": "c", "payment_id": 1025, "why": "w", "amount": Decimal("12.50"), "against": "suspense"}
    booking = msgspec.convert({"by": by, "operator": "Ada", **facts}, AdjustPayment)
    return ask_approval(database, booking).id


@pytest.mark.parametrize("path", PATHS)
async def test_every_route_that_shows_amounts_shows_strings(
    app: Litestar, client: httpx.AsyncClient, database: Database, seeds: Seeds, path: str
) -> None:
    """The digits are the same, and everything else stays as it is."""
    await failed_payment(app, client)
    seeds.account(1, posted_minor=119_610)
    seeds.opening(1, 119_610)
    seeds.payment(1)
    seeds.letter(1, position=3)
    path = path.format(approval_id=await asyncio.to_thread(given_request, database))

    plain = await client.get(f"/api/v1/{path}")
    preferred = await client.get(f"/api/v1/{path}", headers=STRINGS)

    numbers = json.loads(plain.text, parse_float=Decimal)
    assert preferred.json() == as_strings(numbers)
    assert preferred.json() != numbers
    assert preferred.headers["preference-applied"] == "amounts=string"
    assert (plain.headers["vary"], preferred.headers["vary"]) == ("Prefer", "Prefer")
    assert "preference-applied" not in plain.headers


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("users", {"balance": "12.50"}, "balance"),
        ("payments/deposit", {"user_id": 1, "deposit": "12.50"}, "deposit"),
        ("payments/withdraw", {"user_id": 1, "amount": "12.50"}, "withdraw"),
    ],
)
async def test_answers_to_requests_show_strings_too(
    client: httpx.AsyncClient, path: str, body: Mapping[str, object], field: str
) -> None:
    """A replay does, when the client prefers them then, and a number otherwise."""
    await client.post("/api/v1/users", json={"balance": 1000})
    key = {"Idempotency-Key": "k"}

    first = await client.post(f"/api/v1/{path}", json=body, headers=key | STRINGS)
    again = await client.post(f"/api/v1/{path}", json=body, headers=key)

    assert (first.json()[field], again.json()[field]) == ("12.50", 12.5)
    assert first.headers["preference-applied"] == "amounts=string"
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_batch_shows_strings_in_its_results(client: httpx.AsyncClient) -> None:
    """In each of them."""
    await client.post("/api/v1/users", json={"balance": 1000})
    payments = [{"type": "deposit", "user_id": 1, "amount": 5}, {"type": "withdraw", "user_id": 1, "amount": 6}]

    answer = await client.post("/api/v1/payments/batch", json={"payments": payments}, headers=STRINGS)

    assert [result["amount"] for result in answer.json()["results"]] == ["5.00", "6.00"]


@pytest.mark.parametrize(
    ("headers", "applied"),
    [
        ([("Prefer", 'Amounts = "string"')], True),
        ([("Prefer", "return=minimal, amounts=string; x=1")], True),
        ([("Prefer", "wait=5"), ("Prefer", "amounts=string")], True),
        ([("Prefer", "amounts=number")], False),
        ([("Prefer", "amounts")], False),
        ([("Prefer", "")], False),
        ([("Prefer", "x=\xe9\x00")], False),
    ],
)
async def test_a_preference_may_be_written_in_many_ways(
    client: httpx.AsyncClient,
    headers: list[tuple[str, str]],
    applied: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """A preference that nobody knows is ignored."""
    await client.post("/api/v1/users", json={"balance": 1000})
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]

    answer = await client.get("/api/v1/users/1", headers=raw)

    assert answer.status_code == 200
    assert (answer.json()["balance"], "preference-applied" in answer.headers) == (
        "1000.00" if applied else 1000,
        applied,
    )


async def test_a_problem_without_amounts_has_none_to_prefer(client: httpx.AsyncClient) -> None:
    """So it does not say that the preference was applied."""
    answer = await client.get("/api/v1/users/7", headers=STRINGS)

    assert (answer.status_code, "preference-applied" in answer.headers) == (404, False)


async def test_the_amounts_of_a_problem_are_strings_too(client: httpx.AsyncClient) -> None:
    """A client that calculates the missing amount needs the exact digits."""
    await client.post("/api/v1/users", json={"balance": 50})
    request = {"user_id": 1, "amount": 50}

    answer = await client.post("/api/v1/payments/withdraw", json=request, headers=STRINGS)

    assert (answer.json()["available"], answer.json()["needed"]) == ("50.00", "51.00")
    assert (answer.headers["vary"], answer.headers["preference-applied"]) == ("Prefer", "amounts=string")
