"""The demo gateway over HTTP: one effect for each key, and malformed requests are refused."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.support.gateways.demo_client import EXACT, effects_of, payment_id
from tests.support.gateways.demo_process import pay_body

pytestmark = pytest.mark.anyio


# --- one key, one effect --------------------------------------------------------------------------------------------


async def test_a_payment_is_approved_once_for_its_key(http: httpx.AsyncClient) -> None:
    """The same key gives the same answer again, and no further effect."""
    payment = payment_id()
    key = {"Idempotency-Key": f"payment-{payment}"}

    first = await http.post("/pay", json=pay_body(payment), headers=key)
    second = await http.post("/pay", json=pay_body(payment), headers=key)

    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == payment]
    assert first.status_code == 200
    assert first.json()["status"] == "ok"
    assert first.content == second.content
    assert [effect["key"] for effect in effects] == [f"payment-{payment}"]


async def test_fifty_calls_at_once_under_one_key_have_one_effect(http: httpx.AsyncClient) -> None:
    """All fifty callers get the same answer."""
    payment = payment_id()
    key = {"Idempotency-Key": "at-once"}

    answers = await asyncio.gather(*(http.post("/pay", json=pay_body(payment), headers=key) for _ in range(50)))

    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["key"] == "at-once"]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["status"] == "ok"
    assert len(effects) == 1


async def test_a_call_without_key_has_that_of_its_payment(http: httpx.AsyncClient) -> None:
    """Without Idempotency-Key the key is made from the payment's id. Quotes around a key do not matter."""
    payment = payment_id()

    await http.post("/pay", json=pay_body(payment))
    await http.post("/pay", json=pay_body(payment), headers={"Idempotency-Key": f'"payment-{payment}"'})

    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == payment]
    assert [effect["key"] for effect in effects] == [f"payment-{payment}"]
    assert (await http.get(f"/payments/{payment}")).json()["status"] == "ok"


@pytest.mark.parametrize("other", [{"amount": "200.01"}, {"user_id": 8}, {"type": "withdraw"}, {"commission": "0"}])
async def test_a_key_used_for_something_else_is_refused(http: httpx.AsyncClient, other: dict[str, Any]) -> None:
    """A key belongs to one request. The refusal changes nothing."""
    payment = payment_id()
    await http.post("/pay", json=pay_body(payment))

    refused = await http.post("/pay", json=pay_body(payment) | other)

    assert refused.status_code == 422
    assert (await http.post("/pay", json=pay_body(payment))).json()["status"] == "ok"


async def test_a_key_is_that_of_one_payment(http: httpx.AsyncClient) -> None:
    """Another payment under a used key is refused, and an inquiry about it under that key finds nothing."""
    one, other = payment_id(), payment_id()
    key = {"Idempotency-Key": f"payment-{one}"}
    await http.post("/pay", json=pay_body(one), headers=key)

    assert (await http.post("/pay", json=pay_body(other), headers=key)).status_code == 422
    assert (await http.get(f"/payments/{other}", headers=key)).status_code == 404


async def test_the_effects_are_listed_exactly_and_in_pages(http: httpx.AsyncClient) -> None:
    """Amounts are returned exactly as they were sent."""
    first, second = payment_id(), payment_id()
    await http.post("/pay", json=pay_body(first, "0.10"))
    before = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == first]
    body = f'{{"payment_id":{second},"user_id":1,"amount":1e2,"commission":0,"type":"withdraw"}}'
    await http.post("/pay", content=body)

    raw = (await http.get("/effects", params={"after": before[0]["number"], "limit": 1})).content
    page = EXACT.decode(raw)

    assert (before[0]["amount"], before[0]["commission"]) == (Decimal("0.10"), Decimal("4.00"))
    assert [page["items"][0][name] for name in ("payment_id", "amount", "type")] == [second, 100, "withdraw"]
    assert page["items"][0]["at"].endswith("Z")
    assert page["next_after"] is None


# --- malformed requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"payment_id":1,"user_id":1,"amount":1,"commission":0}',
        b'{"payment_id":0,"user_id":1,"amount":1,"commission":0,"type":"deposit"}',
        b'{"payment_id":9007199254740992,"user_id":1,"amount":1,"commission":0,"type":"deposit"}',
        b'{"payment_id":true,"user_id":1,"amount":1,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":-1,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":"1_0","commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":"","commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":"\\ud800","commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":1e999,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":1e-99,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":NaN,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":null,"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":[1],"commission":0,"type":"deposit"}',
        b'{"payment_id":1,"user_id":1,"amount":1,"commission":0,"type":"transfer"}',
        b'{"payment_id":1,"user_id":1,"amount":"\xff","commission":0,"type":"deposit"}',
        b"[" * 20_000,
    ],
)
async def test_a_malformed_body_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    """The answer is 422 with a reason, and never a server error."""
    answer = await http.post("/pay", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["detail"]


@pytest.mark.parametrize("key", ["x" * 256, "a\tb", "caf\u00e9"])
async def test_a_malformed_key_is_refused(http: httpx.AsyncClient, key: str) -> None:
    """A key has up to 255 printable ASCII characters."""
    header = {b"Idempotency-Key": key.encode("latin-1")}

    assert (await http.post("/pay", json=pay_body(payment_id()), headers=header)).status_code == 422
    assert (await http.get("/payments/1", headers=header)).status_code == 422


async def test_wrong_paths_methods_and_sizes_are_no_server_error(http: httpx.AsyncClient) -> None:
    """The usual mistakes get the usual statuses."""
    statuses = [
        (await http.get("/pay")).status_code,
        (await http.get("/nowhere")).status_code,
        (await http.get("/payments/abc")).status_code,
        (await http.get("/payments/99999999999999999999999999")).status_code,
        (await http.get("/effects", params={"limit": 0})).status_code,
        (await http.get("/effects", params={"after": "x"})).status_code,
        (await http.post("/pay", content=b" " * 100_000)).status_code,
    ]

    assert statuses == [405, 404, 404, 404, 400, 400, 413]
