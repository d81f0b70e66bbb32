"""The short way for payments: taken by plain requests only, and answered byte for byte as Litestar's way is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from api.parts import Parts
from api.requests import refuse_ambiguous
from api.time_limit import TimeLimit
from ledger.commands import RequestDeposit
from ledger.database import Database
from ledger.errors import WriterBusy
from ledger.settings import Settings
from tests.databases import fresh_ledger, traces

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
SAME = {"Content-Type": "application/json;charset=utf-8"}
"""Says the same, but not in the plainest form."""

DEPOSIT = "/api/v1/payments/deposit"
WITHDRAW = "/api/v1/payments/withdraw"
BODY = b'{"user_id": 1, "deposit": 5}'
WITHIN_SECONDS = 30.0


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Share one ledger."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def long_way() -> list[str]:
    """Give the paths of the requests that came Litestar's way to a handler."""
    return []


@pytest.fixture
async def app(
    settings: Settings, database: Database, long_way: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Litestar]:
    """Run the application, and note what Litestar does before it calls a handler."""

    async def note(request: Any) -> None:
        long_way.append(request.scope["path"])
        await refuse_ambiguous(request)

    monkeypatch.setattr("api.app.refuse_ambiguous", note)
    app = create_app(settings, database)
    async with app.lifespan():
        yield app


@pytest.fixture
async def user(client: httpx.AsyncClient, long_way: list[str]) -> None:
    """Have user 1."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})
    long_way.clear()


async def both_ways(
    client: httpx.AsyncClient, long_way: list[str], path: str, body: bytes, headers: dict[str, str]
) -> tuple[httpx.Response, httpx.Response]:
    """Send a request the short way and Litestar's way, with the same id."""
    short = await client.post(path, content=body, headers={**JSON, "X-Request-ID": "r", **headers})
    assert long_way == []
    long = await client.post(path, content=body, headers={**SAME, "X-Request-ID": "r", **headers})
    assert long_way == [path]
    return short, long


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (DEPOSIT, b"{"),
        (DEPOSIT, b" "),
        (DEPOSIT, b"null"),
        (DEPOSIT, b"{}"),
        (DEPOSIT, b'{"user_id": 1, "amount": 5}'),
        (DEPOSIT, b'{"user_id": "x", "deposit": 5}'),
        (DEPOSIT, b'{"user_id": 1, "deposit": 5, "x": "\xff"}'),
        (DEPOSIT, b'{"user_id": 1, "deposit": "\\ud800"}'),
        (DEPOSIT, b'{"user_id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (DEPOSIT, b'{"user_id": 1, "deposit": -5}'),
        (DEPOSIT, b'{"user_id": 1, "deposit": 0.001}'),
        (DEPOSIT, b'{"user_id": 1, "deposit": 9007199254740991}'),
        (DEPOSIT, b'{"user_id": 99, "deposit": 5}'),
        (WITHDRAW, b'{"user_id": 1, "amount": -5}'),
        (WITHDRAW, b'{"user_id": 99, "amount": 5}'),
    ],
)
async def test_refusals_are_the_same_both_ways(
    client: httpx.AsyncClient, database: Database, long_way: list[str], path: str, body: bytes
) -> None:
    """With all their headers, and nothing comes of them."""
    before = traces(database)

    short, long = await both_ways(client, long_way, path, body, {})

    assert short.status_code >= 400
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)
    assert traces(database) == before


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("key", ["a b", '"quoted"', '"', "ü", "x" * 256, '""', "", "\x80"])
async def test_keys_are_read_the_same_both_ways(client: httpx.AsyncClient, long_way: list[str], key: str) -> None:
    """What is a good key for one is the same key for the other."""
    headers: Any = [("Idempotency-Key", key.encode("latin-1")), ("X-Request-ID", "r")]
    short = await client.post(DEPOSIT, content=BODY, headers=[*JSON.items(), *headers])
    assert long_way == []

    long = await client.post(DEPOSIT, content=BODY, headers=[*SAME.items(), *headers])

    replayed = long.headers.pop("idempotent-replayed", None)
    if replayed is None and short.status_code == 202:
        assert (key.strip('"'), long.status_code) == ("", 202)  # no key, so two payments
    else:
        assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("path", "body"),
    [(DEPOSIT, BODY), (WITHDRAW, b'{"user_id": 1, "amount": 5}'), (WITHDRAW, b'{"user_id": 1, "amount": 500}')],
)
async def test_a_payment_is_replayed_the_other_way(
    client: httpx.AsyncClient, long_way: list[str], path: str, body: bytes
) -> None:
    """Accepted or recorded as failed, the answer is the first one."""
    short, long = await both_ways(client, long_way, path, body, {"Idempotency-Key": f"{path} {body.decode()}"})

    assert long.headers.pop("idempotent-replayed") == "true"
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("failure", [WriterBusy(), ZeroDivisionError("inside")])
async def test_what_fails_inside_is_answered_the_same_both_ways(
    app: Litestar,
    client: httpx.AsyncClient,
    long_way: list[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
) -> None:
    """Put off, or confessed without what was inside."""
    parts: Parts = app.state["parts"]

    async def fail(_: RequestDeposit) -> None:
        raise failure

    monkeypatch.setattr(parts.writer, "execute", fail)

    short, long = await both_ways(client, long_way, DEPOSIT, BODY, {})

    assert short.status_code >= 500
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)
    assert "inside" not in short.text.replace("went wrong inside", "")


@pytest.mark.usefixtures("user")
async def test_a_body_that_does_not_end_in_time_is_refused_the_same_both_ways(
    app: Litestar, client: httpx.AsyncClient, long_way: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the client's fault and not ours."""
    monkeypatch.setattr(app.state["parts"], "body_time", TimeLimit(0.05))

    async def endless() -> AsyncIterator[bytes]:
        yield BODY[:5]
        await asyncio.sleep(WITHIN_SECONDS)
        yield BODY[5:]

    answers = []
    for kind in (JSON, SAME):
        headers = {**kind, "Content-Length": str(len(BODY)), "X-Request-ID": "r"}
        answers.append(await client.post(DEPOSIT, content=endless(), headers=headers))
        assert len(long_way) == len(answers) - 1

    short, long = answers
    assert (short.status_code, short.json()["code"]) == (400, "request_malformed")
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"{DEPOSIT}?x=1", [], 202),
        (f"{DEPOSIT}?x=null", [], 422),
        (f"{DEPOSIT}/", [], 202),
        (DEPOSIT, [*JSON.items(), *JSON.items()], 202),
        (DEPOSIT, [("Content-Type", "Application/JSON")], 202),
        (DEPOSIT, [("Content-Type", "text/plain")], 415),
        (DEPOSIT, [("Content-Encoding", "gzip")], 415),
        (DEPOSIT, [("Content-Encoding", "identity")], 202),
        (DEPOSIT, [("Transfer-Encoding", "chunked")], 202),
        (DEPOSIT, [("Expect", "100-continue")], 202),
        (DEPOSIT, [("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 422),
        (DEPOSIT, [("Content-Length", "2000000")], 413),
        (DEPOSIT, [("Host", "a_b")], 202),
    ],
)
async def test_what_is_not_plain_goes_litestars_way(
    client: httpx.AsyncClient, long_way: list[str], path: str, headers: list[tuple[str, str]], status: int
) -> None:
    """And is answered there as it always was."""
    given = headers if "Content-Type" in dict(headers) else [*JSON.items(), *headers]

    answer = await client.post(path, content=BODY, headers=given)

    assert answer.status_code == status, answer.text
    assert len(long_way) == 1


@pytest.mark.usefixtures("user")
async def test_another_method_and_an_impossible_host_are_refused_as_ever(client: httpx.AsyncClient) -> None:
    """By the router, before any handler."""
    put = await client.put(DEPOSIT, content=BODY, headers=JSON)
    host = await client.post(DEPOSIT, content=BODY, headers={**JSON, "Host": 'a"b'})

    assert (put.status_code, set(put.headers["allow"].split(", "))) == (405, {"POST", "OPTIONS"})
    assert (host.status_code, host.json()["code"]) == (400, "request_malformed")
