"""Hostile inputs: none yields a 5xx or a half-done effect, each is answered with a problem that says what was wrong."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from ledger.database import Database
from tests.api.seeds import Seeds
from tests.databases import fresh_ledger, traces

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Share one ledger: nothing here may change it."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
async def hostile(client: httpx.AsyncClient, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that may try what it likes with user 1, and see that nothing has come of it."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})
    before = traces(database)
    yield client
    assert traces(database) == before


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    """Hold an answer to being the problem that it has to be."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request_malformed"),
        (b" ", 400, "request_malformed"),
        (b"{", 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 5}x', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 5', 400, "request_malformed"),
        (b'\xef\xbb\xbf{"user_id": 1, "deposit": 5}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 5}'.decode().encode("utf-16"), 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": "\xff"}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 5, "x": "\xff"}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 5, "x": "\xed\xa0\x80"}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": ' + b"[" * 100_000 + b"}", 400, "request_malformed"),
        (b'{"user_id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "request_malformed"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": NaN}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": Infinity}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": -Infinity}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 05}', 400, "request_malformed"),
        (rb'{"user_id": 1, "deposit": "\x35"}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": +5}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": .5}', 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": 1_000}', 400, "request_malformed"),
        (b"{'user_id': 1, 'deposit': 5}", 400, "request_malformed"),
        (b'{"user_id": 1, "deposit": "\\ud800"}', 422, "request_invalid"),
        (b'{"user_id": 1, "deposit": "\\udc00 \\ud800"}', 422, "request_invalid"),
        (b"null", 422, "request_invalid"),
        (b"[]", 422, "request_invalid"),
        (b'"user_id"', 422, "request_invalid"),
        (b"1e400", 422, "request_invalid"),
        (b"{}", 422, "request_invalid"),
        (b'{"user_id": 1}', 422, "request_invalid"),
        (b'{"deposit": 5}', 422, "request_invalid"),
    ],
)
async def test_bodies(hostile: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    """What is no JSON is 400, what is another shape 422."""
    answer = await hostile.post("/api/v1/payments/deposit", content=body, headers=JSON)

    assert_problem(answer, status, code)


@pytest.mark.parametrize(
    "amount",
    [
        "-1",
        "-0",
        "-0.0",
        "0",
        "0.00",
        "0e5",
        "0.001",
        "1e-3",
        "1e400",
        "1e-400",
        "1e999999999",
        "1E+30",
        "1" + "0" * 30,
        "9" * 500,
        "10000000000000.01",
        "true",
        "null",
        "[5]",
        '{"amount": 5}',
        '""',
        '" 5"',
        '"5 "',
        '"+5"',
        '"-5"',
        '"1_000"',
        '"1,000"',
        '"1,5"',
        '"1e2"',
        '"0x10"',
        '"NaN"',
        '"Infinity"',
        '"٥"',
        '"\uff15"',
        '"5\\u0000"',
        '"5\\n"',
        '"5."',
        '".5"',
        '"1\'; DROP TABLE events; --"',
    ],
)
async def test_amounts(hostile: httpx.AsyncClient, amount: str) -> None:
    """What is not a plain number of money is refused, and the field is named."""
    body = f'{{"user_id": 1, "deposit": {amount}}}'.encode()

    answer = await hostile.post("/api/v1/payments/deposit", content=body, headers=JSON)

    assert_problem(answer, 422, "amount_invalid")
    assert answer.json()["errors"][0]["path"] == "deposit"


@pytest.mark.parametrize(
    "identifier",
    [
        "0",
        "-1",
        "1.5",
        "9007199254740992",
        "9223372036854775808",
        "1e300",
        "1e400",
        "9" * 5000,
        "true",
        "null",
        "[1]",
        '""',
        '" 1"',
        '"+1"',
        '"1_0"',
        '"٧"',
        '"one"',
        '"1; DROP TABLE events"',
        '"1\\u0000"',
    ],
)
async def test_ids_in_bodies(hostile: httpx.AsyncClient, identifier: str) -> None:
    """An id is a whole number from 1 to 2^53 - 1."""
    body = f'{{"user_id": {identifier}, "deposit": 5}}'.encode()

    answer = await hostile.post("/api/v1/payments/deposit", content=body, headers=JSON)

    assert_problem(answer, 422, "request_invalid")
    assert answer.json()["errors"][0]["path"] == "user_id"


@pytest.mark.parametrize(
    "identifier",
    ["0", "-1", "1.5", "+1", "%201", "1_0", "0x1", "9007199254740992", "9" * 30, "9" * 5000, "1e999", "%D9%A7", "%00",
     "1%00", "%FF", "%ED%A0%80", "1'--", "null", "true", "nan", "1;drop"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["users/{}", "users/{}/statement", "payments/{}", "payments/{}/events"])
async def test_ids_in_addresses(hostile: httpx.AsyncClient, path: str, identifier: str) -> None:
    """The same goes for the address."""
    answer = await hostile.get(f"/api/v1/{path.format(identifier)}")

    assert_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(
    "query",
    [
        "limit=9999999999999999999999",
        "limit=1e400",
        "limit=nan",
        "limit=",
        "limit=5&limit=0",
        "limit=%FF",
        "limit=null",
        "user_id=null",
        "user_id=NULL",
        "user_id=nU%6cl",
        "user_id=1&user_id=null",
        "status=null",
        "status=%6eull",
        "type=null",
        "type=Null",
        "user_id=9007199254740992",
        "user_id=0",
        "user_id='%20OR%201=1",
        "user_id=%00",
        "status=%00",
        "status=%27;--",
        "type=%F0%9F%92%B8",
    ],
)
async def test_queries(hostile: httpx.AsyncClient, query: str) -> None:
    """What no list can be asked for is refused."""
    answer = await hostile.get(f"/api/v1/payments?{query}")

    assert_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(
    "query", ["%", "%zz", "x=nullable", "=", "&&&", "%00=1", "a" * 10_000, "limit", "x=%FF", "[]=1", "limit=5;"]
)
async def test_odd_queries_do_no_harm(hostile: httpx.AsyncClient, query: str) -> None:
    """What nobody asks for is not looked at, whatever it is."""
    answer = await hostile.get(f"/api/v1/payments?{query}")

    assert answer.status_code in {200, 422}


@pytest.mark.parametrize(
    "cursor",
    ["x", "%00", "%FF", "W10", "AAAAAAAAAABb", "AAAAAAAAAABbMV0", "====", "é", "-1", "nul", "A" * 199],
)
async def test_cursors(hostile: httpx.AsyncClient, cursor: str) -> None:
    """One that no list gave out is refused."""
    for path in ("payments", "users/1/transactions", "users/1/statement"):
        assert_problem(await hostile.get(f"/api/v1/{path}?cursor={cursor}"), 422, "cursor_invalid")


async def test_a_cursor_is_good_for_its_own_list_only(client: httpx.AsyncClient, seeds: Seeds) -> None:
    """Neither for another route, nor for another user, nor for other filters, nor in part."""
    for payment_id in (1, 1025, 2, 1026):
        seeds.payment(payment_id, account_id=payment_id % 1024)
    page = (await client.get("/api/v1/payments?user_id=1&limit=1")).json()
    cursor = page["next_cursor"]

    assert (await client.get(f"/api/v1/payments?user_id=1&cursor={cursor}")).status_code == 200
    for query in ("payments?", "payments?user_id=2&", "payments?user_id=1&status=new&", "users/1/transactions?",
                  "users/1/statement?"):  # fmt: skip
        assert_problem(await client.get(f"/api/v1/{query}cursor={cursor}"), 422, "cursor_invalid")
    for bent in (cursor[:-1], cursor + "A", cursor.swapcase(), cursor + "=", f"%20{cursor}", cursor * 2):
        assert_problem(await client.get(f"/api/v1/payments?user_id=1&cursor={bent}"), 422, "cursor_invalid")


SQL = "'; DROP TABLE events; --"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("users", {"balance": SQL}, 422, "amount_invalid"),
        ("users", {"currency": SQL}, 422, "currency_unknown"),
        ("users", {"currency": "usd"}, 422, "currency_unknown"),
        ("users", {"currency": "U\0D"}, 422, "currency_unknown"),
        ("users", {"currency": ["USD"]}, 422, "request_invalid"),
        ("payments/deposit", {"user_id": SQL, "deposit": 1}, 422, "request_invalid"),
        ("payments/deposit", {"user_id": 1, "deposit": SQL}, 422, "amount_invalid"),
        ("payments/withdraw", {"user_id": SQL, "amount": 1}, 422, "request_invalid"),
        ("payments/withdraw", {"user_id": 1, "amount": SQL}, 422, "amount_invalid"),
        ("payments/batch", {"payments": SQL}, 422, "request_invalid"),
        ("payments/batch", {"payments": {}}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": SQL, "by": SQL}, 404, "payment_not_found"),
        ("dlq/1/requeue", {"why": "a\0b", "by": "me"}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": "me", "by": "\0"}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": " \t\n\u3000", "by": "me"}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": "a" * 501, "by": "me"}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": "a" * 900_000 + "\0", "by": "me"}, 422, "request_invalid"),
        ("dlq/1/requeue", {"why": None, "by": "me"}, 422, "request_invalid"),
        ("dlq/1/resolve", {"outcome": SQL, "why": "so", "by": "me"}, 422, "request_invalid"),
        ("dlq/1/resolve", {"outcome": "success", "why": SQL, "by": SQL}, 404, "payment_not_found"),
        ("dlq/9223372036854775808/resolve", {"outcome": "success", "why": "so", "by": "me"}, 422, "request_invalid"),
        ("mock-gateway/pay", {"payment_id": SQL, "user_id": 1, "amount": 1, "commission": 0, "type": "deposit"}, 422,
         "request_invalid"),
        ("mock-gateway/pay", {"payment_id": 1, "user_id": 1, "amount": 1, "commission": 0, "type": SQL}, 422,
         "request_invalid"),
    ],
)  # fmt: skip
async def test_fields(hostile: httpx.AsyncClient, path: str, body: Any, status: int, code: str) -> None:
    """What is in them is never more than text."""
    answer = await hostile.post(f"/api/v1/{path}", json=body)

    assert_problem(answer, status, code)


async def test_a_batch_of_nonsense_is_answered_in_its_places(hostile: httpx.AsyncClient) -> None:
    """Each with a problem, and nothing comes of any."""
    good = {"type": "deposit", "user_id": 1, "amount": 5}
    payments: list[Any] = [
        *({**good, "type": SQL}, {**good, "user_id": SQL}, {**good, "amount": SQL}, {**good, "idempotency_key": "a\0"}),
        *({**good, "idempotency_key": " "}, {**good, "idempotency_key": "k" * 256}, {**good, "idempotency_key": "é"}),
        *({**good, "amount": -5}, {**good, "amount": 10**30}, {**good, "user_id": 2**63}, None, [], 5, SQL, {}),
    ]

    answer = await hostile.post("/api/v1/payments/batch", json={"payments": payments})

    assert answer.status_code == 200
    for place, result in enumerate(answer.json()["results"]):
        assert result["status"] == 422
        assert result["errors"][0]["path"].startswith(f"payments[{place}]")


async def test_half_a_surrogate_pair_spoils_a_whole_batch(hostile: httpx.AsyncClient) -> None:
    """No text can be made of it, and so no list of payments of what it stands in."""
    item = '{"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "%s"}'
    body = f'{{"payments": [{", ".join(item % key for key in ("a", chr(92) + "ud800", "b"))}]}}'

    answer = await hostile.post("/api/v1/payments/batch", content=body)

    assert_problem(answer, 422, "request_invalid")


async def test_a_key_is_text_whatever_it_says(client: httpx.AsyncClient) -> None:
    """It is kept as it is, and found again."""
    user_id = (await client.post("/api/v1/users", json={})).json()["id"]
    request = {"user_id": user_id, "deposit": 5}

    first = await client.post("/api/v1/payments/deposit", json=request, headers={"Idempotency-Key": SQL})
    again = await client.post("/api/v1/payments/deposit", json=request, headers={"Idempotency-Key": SQL})

    assert (first.status_code, again.content) == (202, first.content)


async def test_a_cursor_that_is_too_long(hostile: httpx.AsyncClient) -> None:
    """It is not even read."""
    answer = await hostile.get(f"/api/v1/payments?cursor={'A' * 201}")

    assert_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/msgpack",
        "application/x-msgpack",
        "application/xml",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/jsonp",
        "json",
        ";",
        "\xe9",
    ],
)
async def test_content_types(hostile: httpx.AsyncClient, content_type: str) -> None:
    """Anything but JSON in UTF-8 is 415."""
    answer = await hostile.post(
        "/api/v1/payments/deposit",
        content=b'{"user_id": 1, "deposit": 5}',
        headers=[(b"Content-Type", content_type.encode("latin-1"))],
    )

    assert_problem(answer, 415, "media_type_unsupported")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
    ],
)
async def test_no_content_type_is_taken_as_json(client: httpx.AsyncClient, content_type: str | None) -> None:
    """And JSON in any spelling of it."""
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = await client.post("/api/v1/users", content=b"{}", headers=headers)

    assert answer.status_code == 201


async def test_duplicate_fields_do_no_harm(client: httpx.AsyncClient) -> None:
    """The last one counts, as in most readers of JSON."""
    answer = await client.post("/api/v1/users", content=b'{"balance": 1, "balance": 2}', headers=JSON)

    assert (answer.status_code, answer.json()["balance"]) == (201, 2)


@pytest.mark.parametrize(
    "value", [b"a\r\nSet-Cookie: x=1", b"", b" ", b"\xff\xfe", b"x" * 129, b"two words", b"<script>", b"a\x00b"]
)
async def test_request_ids_that_are_not_sane_are_replaced(hostile: httpx.AsyncClient, value: bytes) -> None:
    """None of it comes back in the answer."""
    answer = await hostile.get("/livez", headers=[(b"X-Request-ID", value)])

    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32
    assert "set-cookie" not in answer.headers


async def test_an_odd_host_is_no_5xx(hostile: httpx.AsyncClient) -> None:
    """It is refused or not looked at."""
    for host in ("", "a b", "a/b", "[", "\xe9", "a:99999999"):
        answer = await hostile.get("/livez", headers=[(b"Host", host.encode("latin-1"))])

        assert answer.status_code in {200, 400}
