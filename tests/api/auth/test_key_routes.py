"""Keys over HTTP: made, listed, rotated and revoked with the scope `admin`, and their secrets shown once."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
import structlog

from api.auth.key_store import revoke_key, rotate_key
from api.auth.keys import SCOPES, KeyWithSecret
from api.runtime.logs import configure_logs
from ledger.store.database import Database
from tests.api.auth.conftest import Keys, bearer
from tests.support.databases import execute

pytestmark = pytest.mark.anyio

KEYS = "/api/v1/keys"


@pytest.fixture
def admin(keys: Keys) -> dict[str, str]:
    """Return the headers of a key that may manage keys."""
    return keys.make("admin")


async def test_a_key_is_made_listed_rotated_and_revoked(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Each answer says who did it; only the first and the rotation have a secret."""
    by = f"key:{admin['Authorization'][10:26]}"
    wanted = {"name": "shop", "scopes": ["read", "payments:write"], "user_ids": [2, "1"], "expires_in_days": 30}

    made = await client.post(KEYS, json=wanted, headers=admin)
    key_id = made.json()["key_id"]
    rotated = await client.post(f"{KEYS}/{key_id}/rotate", json={"keep_seconds": 60}, headers=admin)
    own = [await client.get("/api/v1/users/1", headers=bearer(each.json()["key"])) for each in (made, rotated)]
    revoked = await client.post(f"{KEYS}/{key_id}/revoke", headers=admin)
    after = [await client.get("/api/v1/users/1", headers=bearer(each.json()["key"])) for each in (made, rotated)]
    listed = await client.get(KEYS, headers=admin)

    assert (made.status_code, rotated.status_code, revoked.status_code, listed.status_code) == (201, 200, 200, 200)
    assert [answer.headers.get("cache-control") for answer in (made, rotated, revoked)] == ["no-store"] * 2 + [None]
    assert re.fullmatch(rf"pl_{key_id}_[0-9a-f]{{48}}", made.json()["key"])
    assert (made.json()["scopes"], made.json()["user_ids"]) == (["payments:write", "read"], [1, 2])
    assert (made.json()["created_by"], revoked.json()["revoked_by"]) == (by, by)
    assert [answer.status_code for answer in own] == [200, 200]
    assert "key" not in revoked.json()
    assert listed.json()[0] == revoked.json() | {"last_used_at": listed.json()[0]["last_used_at"]}
    assert {answer.status_code for answer in after} <= {200, 401}  # within 5 seconds, as test_key_ring shows


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "n", "scopes": []}, "scopes"),
        ({"name": "n", "scopes": ["everything"]}, "scopes[0]"),
        ({"name": " ", "scopes": ["read"]}, "name"),
        ({"name": "n", "scopes": ["read"], "user_ids": []}, "user_ids"),
        ({"name": "n", "scopes": ["read", "admin"], "user_ids": [1]}, "scopes"),
        ({"name": "n", "scopes": ["read"], "expires_in_days": 0}, "expires_in_days"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, Any], path: str
) -> None:
    """A bound key that could manage keys could free itself."""
    answer = await client.post(KEYS, json=body, headers=admin)

    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)


async def test_a_key_that_is_not_there_or_has_ended_is_named(
    client: httpx.AsyncClient, admin: dict[str, str], keys: Keys
) -> None:
    """A revocation can be repeated, and the first one counts."""
    ended = keys.text()[3:19]
    first = revoke_key(keys.database, ended, by="key:first")

    missing = [await client.post(f"{KEYS}/{'0' * 16}/{what}", json={}, headers=admin) for what in ("rotate", "revoke")]
    rotated = await client.post(f"{KEYS}/{ended}/rotate", json={}, headers=admin)
    again = await client.post(f"{KEYS}/{ended}/revoke", headers=admin)

    assert [(answer.status_code, answer.json()["code"]) for answer in missing] == [(404, "key_not_found")] * 2
    assert (rotated.status_code, rotated.json()["code"]) == (409, "key_ended")
    assert (again.json()["revoked_by"], again.status_code) == (first.revoked_by, 200)


async def test_a_secret_stands_nowhere(
    client: httpx.AsyncClient, database: Database, keys: Keys, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the log at its lowest level, in problems, the OpenAPI document, other answers, or any table."""
    configure_logs("debug", plain=False)
    structlog.configure(cache_logger_on_first_use=False)  # the loggers of modules would keep it for later tests
    try:
        made = await client.post(KEYS, json={"name": "n", "scopes": [*SCOPES]}, headers=keys.make("admin"))
        text = made.json()["key"]
        wrong = text[:-4] + "0000"
        places = [f"/api/v1/users/{text}", f"/api/v1/{text}", "/api/v1/users/1", "/api/v1/dlq", "/api/v1/keys"]
        answers = [await client.get(place, headers=bearer(each)) for place in places for each in (text, wrong)]
        answers += [
            await client.get("/docs/openapi.json"),
            await client.get("/api/v1/audit/events", headers=bearer(text)),
        ]
        answers += [await client.post("/api/v1/payments/deposit", content=b"{", headers=bearer(text))]
        structlog.get_logger().error("a mistake", exc_info=ValueError(text))
    finally:
        structlog.reset_defaults()
    logged = "".join(capfd.readouterr())
    tables = [
        name
        for (name,) in execute(
            database,
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace",
            owner=True,
        )
    ]
    stored = "".join(str(execute(database, f"SELECT t::text FROM {name} AS t", owner=True)) for name in tables)

    secrets = [each[20:] for each in (text, wrong)]
    for secret in secrets:
        assert secret not in logged
        assert secret not in stored
        assert [answer.url for answer in answers if secret in answer.text] == []
    assert "a mistake" in logged
    assert "api_key" in tables
    assert text[3:19] in stored


def test_a_secret_is_not_in_the_repr_of_a_key(keys: Keys) -> None:
    """A traceback that shows values would show it."""
    text = keys.text()
    made: KeyWithSecret = rotate_key(keys.database, text[3:19], keep=timedelta(0))

    assert made.text[20:] not in repr(made)
    assert text[3:19] in repr(made)


async def test_the_document_describes_the_keys(client: httpx.AsyncClient) -> None:
    """Each operation names its scope, so that the Authorize button of the page sends the key."""
    document = (await client.get("/docs/openapi.json")).json()
    operations = {each["operationId"]: each for item in document["paths"].values() for each in item.values()}

    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["api_key"]["in"], schemes["api_key"]["name"]) == ("header", "X-API-Key")
    assert operations["deposit"]["security"] == [{"bearer": ["payments:write"]}, {"api_key": ["payments:write"]}]
    assert {name for name, each in operations.items() if each["security"] == []} == {"livez", "readyz"}
    for each in operations.values():
        assert ({"401", "403"} <= each["responses"].keys()) == (each["security"] != [])
    assert "WWW-Authenticate" in operations["deposit"]["responses"]["401"]["headers"]
