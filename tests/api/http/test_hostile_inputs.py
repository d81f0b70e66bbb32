"""Hostile bodies, fields and headers: each is refused with a problem that says why, and has no effect."""

from typing import Any

import httpx
import pytest

from tests.api.http.hostile import JSON, SQL, assert_problem, database, hostile

__all__ = ["database", "hostile"]

pytestmark = pytest.mark.anyio


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
    """A body that is not JSON is 400, and JSON of another shape is 422."""
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
    """An amount that is not a plain positive number is refused, and the field is named."""
    body = f'{{"user_id": 1, "deposit": {amount}}}'.encode()

    answer = await hostile.post("/api/v1/payments/deposit", content=body, headers=JSON)

    assert_problem(answer, 422, "amount_invalid")
    assert answer.json()["errors"][0]["path"] == "deposit"


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
    """Their contents are never interpreted as more than text."""
    answer = await hostile.post(f"/api/v1/{path}", json=body)

    assert_problem(answer, status, code)


async def test_a_batch_of_nonsense_is_answered_in_its_places(hostile: httpx.AsyncClient) -> None:
    """Each item is answered with a problem, and has no effect."""
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


async def test_half_a_surrogate_pair_refuses_the_whole_batch(hostile: httpx.AsyncClient) -> None:
    """It cannot be decoded to text, so the whole batch cannot be read."""
    item = '{"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "%s"}'
    body = f'{{"payments": [{", ".join(item % key for key in ("a", chr(92) + "ud800", "b"))}]}}'

    answer = await hostile.post("/api/v1/payments/batch", content=body)

    assert_problem(answer, 422, "request_invalid")


async def test_a_key_is_text_whatever_it_says(client: httpx.AsyncClient) -> None:
    """The key is stored as it is, and found again."""
    user_id = (await client.post("/api/v1/users", json={})).json()["id"]
    request = {"user_id": user_id, "deposit": 5}

    first = await client.post("/api/v1/payments/deposit", json=request, headers={"Idempotency-Key": SQL})
    again = await client.post("/api/v1/payments/deposit", json=request, headers={"Idempotency-Key": SQL})

    assert (first.status_code, again.content) == (202, first.content)


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
    """Every type except JSON in UTF-8 is 415."""
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
    """Any spelling of JSON's content type is accepted too."""
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = await client.post("/api/v1/users", content=b"{}", headers=headers)

    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("users", b'{"balance": 1, "balance": 2}'),
        ("users", b'{"balance": 1, "balance": 1}'),
        ("users", b'{"balance": 1, "\\u0062alance": 2}'),
        ("users", b'{"currency": "USD", "currency": "EUR"}'),
        ("users", b'{"balance": 1, "unknown": 1, "unknown": 1}'),
        ("users", b'{"balance": 1, "unknown": {"x": 1, "x": 1}}'),
        ("payments/deposit", b'{"user_id": 1, "deposit": 5, "deposit": 500}'),
        ("payments/withdraw", b'{"user_id": 1, "user_id": 2, "amount": 5}'),
        ("payments/withdraw", b'{"user_id": 1, "user_id": 2}'),
        ("payments/batch", b'{"payments": [], "payments": [{"type": "deposit", "user_id": 1, "amount": 5}]}'),
        ("dlq/1/requeue", b'{"why": "a", "by": "b", "why": "c"}'),
        ("dlq/1/resolve", b'{"outcome": "failed", "outcome": "success", "why": "a", "by": "b"}'),
        (
            "mock-gateway/pay",
            b'{"payment_id": 1, "user_id": 1, "amount": 1, "amount": 2, "commission": 0, "type": "deposit"}',
        ),
    ],
)
async def test_a_field_given_twice_is_refused(hostile: httpx.AsyncClient, path: str, body: bytes) -> None:
    """Another program in between may have read the other one of them."""
    answer = await hostile.post(f"/api/v1/{path}", content=body, headers=JSON)

    assert_problem(answer, 400, "request_malformed")
    assert "is given twice" in answer.json()["detail"]


@pytest.mark.parametrize(
    "twice",
    [
        b'{"type": "deposit", "user_id": 1, "amount": 5, "amount": 6}',
        b'{"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "a", "idempotency_key": "b"}',
        b'{"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "a:b", "amount": 6}',
        b'{"type": "deposit", "user_id": 1, "amount": 5, "idempotency_key": "a", "idempotency_key": null}',
    ],
)
async def test_a_field_given_twice_refuses_only_its_payment_of_a_batch(client: httpx.AsyncClient, twice: bytes) -> None:
    """The others are carried out."""
    await client.post("/api/v1/users", json={"balance": 1})
    body = b'{"payments": [%b, {"type": "deposit", "user_id": 1, "amount": 7}]}' % twice

    answer = await client.post("/api/v1/payments/batch", content=body, headers=JSON)

    refused, accepted = answer.json()["results"]
    assert (answer.status_code, refused["status"], refused["code"]) == (200, 400, "request_malformed")
    assert accepted["amount"] == 7


@pytest.mark.parametrize(
    "value", [b"a\r\nSet-Cookie: x=1", b"", b" ", b"\xff\xfe", b"x" * 129, b"two words", b"<script>", b"a\x00b"]
)
async def test_malformed_request_ids_are_replaced(hostile: httpx.AsyncClient, value: bytes) -> None:
    """No part of it is sent back."""
    answer = await hostile.get("/livez", headers=[(b"X-Request-ID", value)])

    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32
    assert "set-cookie" not in answer.headers


async def test_an_odd_host_causes_no_5xx(hostile: httpx.AsyncClient) -> None:
    """It is refused or ignored."""
    for host in ("", "a b", "a/b", "[", "\xe9", "a:99999999"):
        answer = await hostile.get("/livez", headers=[(b"Host", host.encode("latin-1"))])

        assert answer.status_code in {200, 400}
