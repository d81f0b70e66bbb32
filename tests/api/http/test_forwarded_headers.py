"""Headers of proxies are not believed: nothing in an answer depends on them, so nobody can forge a caller with one."""

import httpx
import pytest

pytestmark = pytest.mark.anyio

FORGED = {
    "Forwarded": "for=10.0.0.1;proto=https;host=bank.example",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Host": "bank.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/elsewhere",
    "X-Real-IP": "10.0.0.1",
    "X-Original-URL": "/api/v1/metrics",
    "X-Rewrite-URL": "/api/v1/metrics",
    "X-HTTP-Method-Override": "DELETE",
}


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/docs", "/api/v1/payments", "/api/v1/payments/7", "/nowhere"])
async def test_an_answer_does_not_depend_on_them(client: httpx.AsyncClient, path: str) -> None:
    """Status, headers and body are the same with and without them."""
    ours = {"X-Request-ID": "same"}

    plain = await client.get(path, headers=ours)
    forged = await client.get(path, headers=ours | FORGED)

    assert (forged.status_code, forged.content, forged.headers) == (plain.status_code, plain.content, plain.headers)


async def test_the_address_of_a_new_payment_does_not_depend_on_them(client: httpx.AsyncClient) -> None:
    """`Location` is a path, so that a proxy needs to translate nothing."""
    user = (await client.post("/api/v1/users/", json={"balance": 10})).json()["id"]

    body = {"user_id": user, "deposit": 1}
    answer = await client.post("/api/v1/payments/deposit", json=body, headers=FORGED)

    assert answer.status_code == 202
    assert answer.headers["location"].startswith("/api/v1/payments/")
