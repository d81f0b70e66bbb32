"""The chaos gateway as a server: its promises, its repeatable behaviour, and malformed requests."""

import asyncio
import json
import socket
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.store.database import Database
from processors.simulators.chaos.connection import HEAD_BYTES_MAX
from processors.simulators.chaos.scenario import Behaviour, CallWeights, InquiryWeights
from processors.simulators.chaos.store import ChaosBook
from processors.simulators.demo.protocol import BODY_BYTES_MAX
from processors.simulators.demo.scenario import DemoProfile
from tests.support.gateways.chaos_client import HONEST, PROFILE, calls_that, connected, get, inquiries_that, moved
from tests.support.gateways.chaos_process import ChaosGatewayProcess, serving
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book, pay_body
from tests.support.proxies import proxy_before

pytestmark = pytest.mark.anyio

B = Behaviour
PAYMENTS = range(1, 13)


# --- inquiries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour(name) for name in InquiryWeights.__struct_fields__])
async def test_an_inquiry_goes_wrong_twice_and_is_then_answered_plainly(book: Database, behaviour: Behaviour) -> None:
    """The first two inquiries may go wrong in any way."""
    async with serving(book, inquiries_that(behaviour, hang_seconds=0.1)) as url:
        async with connected(url) as client:
            await client.pay(1)
            await client.answer()
        for _ in range(2):
            async with connected(url) as client:
                await client.ask("GET", "/payments/1")
                await client.hears_nothing()
        plain = await get(url, "/payments/1")
        counts = await get(url, "/behaviours")

    assert plain["status"] == "ok"
    assert counts[f"inquiry_{behaviour.value}"] == (3 if behaviour is B.TELL else 2)
    assert counts["inquiry_tell"] >= 1


async def test_a_bare_404_does_not_say_not_found(book: Database) -> None:
    """Such a 404 does not come from the gateway itself, and says nothing about the payment."""
    async with serving(book, inquiries_that(B.BARE_404)) as url, connected(url) as client:
        await client.ask("GET", "/payments/1")
        status, _, body = await client.answer()

    assert status == 404
    assert b"not_found" not in body


async def test_a_silent_payment_is_pending_for_ever(book: Database) -> None:
    """It stays in doubt until an operator decides."""
    async with serving(book, replace(HONEST, silent_share=1.0)) as url:
        async with connected(url) as client:
            await client.pay(1)
            await client.answer()
        told = {(await get(url, "/payments/1"))["status"] for _ in range(5)}

    assert told <= {"pending", "timeout"}


@pytest.mark.parametrize("then", [B.APPROVE, B.SETTLE_LATE, B.TIME_OUT_MOVED, B.HUGE_BODY])
async def test_not_found_stays_true(book: Database, then: Behaviour) -> None:
    """A later call is declined, even if it is the first one."""
    profile = calls_that(then, settle_seconds=0.0, inquiries=HONEST.inquiries, hang_seconds=0.1)
    async with serving(book, profile) as url:
        before = await get(url, "/payments/1")
        async with connected(url) as client:
            await client.pay(1)
            await client.answer()
        after = await get(url, "/payments/1")
        found = await moved(url)

    assert (before["status"], after["status"], found) == ("not_found", "declined", set())


async def test_another_payments_key_is_not_found_and_not_sealed(book: Database) -> None:
    """An inquiry about a payment under another payment's key does not affect that other payment."""
    async with serving(book, replace(HONEST, calls=CallWeights.only(B.TURN_AWAY))) as url, connected(url) as client:
        await client.pay(1)
        await client.answer()
        await client.ask("GET", "/payments/2", Idempotency_Key="payment-1")
        stranger = json.loads((await client.answer())[2])
    async with serving(book, HONEST) as url, connected(url) as client:
        await client.pay(1)
        answer = json.loads((await client.answer())[2])

    assert (stranger["status"], answer["status"]) == ("not_found", "ok")


async def test_a_waiting_caller_is_told_of_money_that_moves_after_not_found(book: Database) -> None:
    """This lie must be requested: the inquiry says not_found, and then the hanging call is approved."""
    profile = calls_that(B.EFFECT_AFTER_ALL, hang_seconds=20.0, inquiries=HONEST.inquiries)
    async with serving(book, profile) as url, connected(url) as client:
        await client.pay(1)
        assert await client.hears_nothing()
        found = await moved(url)
        told = await get(url, "/payments/1")
        _, _, body = await client.answer()
        later = await get(url, "/payments/1")
        found_later = await moved(url)

    assert (found, told["status"]) == (set(), "not_found")
    assert (json.loads(body)["status"], later["status"], found_later) == ("ok", "ok", {1})


# --- recorded acts ---------------------------------------------------------------------------------------------------


async def test_one_key_has_one_effect_however_it_is_called(book: Database) -> None:
    """Ten payments get ten calls each at once, with every kind of fault."""
    profile = replace(PROFILE, settle_seconds=0.1)

    async def call(payment_id: int) -> None:
        async with connected(url) as client:
            await client.ask("POST", "/pay", pay_body(payment_id), Connection="close")
            await client.rest()

    async with serving(book, profile) as url:
        await asyncio.gather(*(call(payment_id) for payment_id in range(1, 11) for _ in range(10)))
        effects = (await get(url, "/effects"))["items"]
        attempts = [len(await told_acts(url, payment_id)) for payment_id in range(1, 11)]

    assert attempts == [10] * 10
    assert len({effect["key"] for effect in effects}) == len(effects) > 5


async def test_the_same_calls_give_the_same_acts_in_any_order(postgres_url: str) -> None:
    """Two gateways of one seed are called in opposite orders."""

    async def acts(payment_ids: list[int]) -> dict[int, Any]:
        with fresh_book(postgres_url) as book:
            async with serving(book, replace(PROFILE, hang_seconds=0.1)) as url:
                for payment_id in payment_ids:
                    for _ in range(2):
                        async with connected(url) as client:
                            await client.pay(payment_id)
                            await client.hears_nothing()
                return {n: await told_acts(url, n) for n in payment_ids}

    there, back = await acts(list(PAYMENTS)), await acts(list(reversed(PAYMENTS)))

    assert there == back
    assert len({act for done in there.values() for act in done}) > 3


async def told_acts(url: str, payment_id: int) -> list[tuple[str, int, str, str]]:
    items = (await get(url, "/acts", key=f"payment-{payment_id}"))["items"]
    return [(item["request"], item["number"], item["behaviour"], item["effect"]) for item in items]


async def test_recorded_acts_survive_kill_9(book: Database) -> None:
    """The counts, the money that moved before the silence, and the number of the next attempt survive."""
    with ChaosGatewayProcess(book, calls_that(B.TIME_OUT_MOVED, hang_seconds=60.0)) as process:
        async with connected(process.url) as client:
            await client.pay(1)
            while not await moved(process.url):
                pass
            await asyncio.to_thread(process.kill)
        await asyncio.to_thread(process.restart)
        async with connected(process.url) as client:
            await client.pay(1)
            assert await client.hears_nothing()
        done = await told_acts(process.url, 1)
        counted, effects = process.behaviours(), process.effects()

    assert done == [("pay", 1, "time_out_moved", "approve"), ("pay", 2, "time_out_moved", "nothing")]
    assert counted["time_out_moved"] == 2
    assert [effect["payment_id"] for effect in effects] == [1]


async def test_the_demo_gateway_can_serve_the_same_book(book: Database) -> None:
    """Decisions of one gateway are answered by the other, and late money does not move twice."""
    good = DemoProfile(timeout_rate=0.0, error_rate=0.0)
    with DemoGatewayProcess(book, good) as process:
        first = await told_by(process.url, 1)
    async with serving(book, calls_that(B.DECLINE)) as url:
        told = [await told_by(url, payment_id) for payment_id in (1, 2)]
    async with serving(book, calls_that(B.SETTLE_LATE, settle_seconds=3600.0)) as url, connected(url) as client:
        await client.pay(3)
        assert await client.hears_nothing()
    with DemoGatewayProcess(book, good) as process:
        last = [await told_by(process.url, payment_id) for payment_id in (2, 3)]
    with closing(book.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute("UPDATE chaos_keys SET due_at = now() WHERE due_at IS NOT NULL")
    async with ChaosBook(book.url, schema=book.schema) as opened:
        await opened.approve_overdue()
        on_its_way, effects = await opened.seconds_until_due(), await opened.effects(after=0, limit=10)

    assert (first, told, last) == ("ok", ["ok", "declined"], ["declined", "ok"])
    assert (on_its_way, [effect.payment_id for effect in effects]) == (None, [1, 3])


async def told_by(url: str, payment_id: int) -> Any:
    """Call once, and return the word of the answer."""
    async with connected(url) as client:
        await client.pay(payment_id)
        return json.loads((await client.answer())[2])["status"]


# --- malformed requests, and the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\n\r\n", 400),
        (b"get /health HTTP/1.1\r\n\r\n", 400),
        (b"GET health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"POST /pay HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /pay HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /pay HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), 413),
        (b"POST /pay HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /" + b"x" * 2 * HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST /pay HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 422),
        (b"POST /pay HTTP/1.1\r\n\r\n", 422),
        (b"GET /payments/1 HTTP/1.1\r\nIdempotency-Key: a\tb\r\n\r\n", 422),
        (b"GET /acts?key=%00 HTTP/1.1\r\n\r\n", 422),
        (b"GET /pay HTTP/1.1\r\n\r\n", 405),
        (b"POST /effects HTTP/1.1\r\n\r\n", 405),
        (b"POST /payments/1 HTTP/1.1\r\n\r\n", 405),
        (b"GET /payments/abc HTTP/1.1\r\n\r\n", 404),
        (b"GET /payments/99999999999999999999 HTTP/1.1\r\n\r\n", 404),
        (b"GET //[ HTTP/1.1\r\n\r\n", 404),
        (b"GET /effects?limit=0 HTTP/1.1\r\n\r\n", 400),
        (b"GET /effects?limit=1001 HTTP/1.1\r\n\r\n", 400),
        (b"GET /effects?after=-1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /effects?after=9007199254740993 HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_a_malformed_request_is_refused(book: Database, request_bytes: bytes, status: int) -> None:
    """The usual mistakes get the usual statuses. Only well-formed requests meet misbehaviour."""
    async with serving(book, HONEST) as url:
        async with connected(url) as client:
            await client.send(request_bytes)
            answer = await client.answer()
        healthy = await get(url, "/health")

    assert answer[0] == status
    assert healthy == {"status": "ok", "chaos_seed": HONEST.seed}


async def test_a_client_that_expects_100_continue_gets_it(book: Database) -> None:
    """Clients such as curl expect it before they send a large body."""
    body = json.dumps(pay_body(1)).encode()
    async with serving(book, HONEST) as url, connected(url) as client:
        await client.send(b"POST /pay HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        interim = await client.interim()
        await client.send(body)
        status, _, _ = await client.answer()

    assert (interim, status) == (b"HTTP/1.1 100 Continue\r\n\r\n", 200)


@pytest.mark.parametrize("line", ["POST /pay HTTP/1.0", "POST /pay HTTP/1.1\r\nConnection: close"])
async def test_a_client_who_wants_the_connection_closed_gets_it_closed(book: Database, line: str) -> None:
    """A client asks for it by header or by version."""
    body = json.dumps(pay_body(1)).encode()
    async with serving(book, HONEST) as url, connected(url) as client:
        await client.send(f"{line}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        _, headers, _ = await client.answer()

        assert headers["connection"] == "close"
        assert await client.rest() == (b"", "closed")


async def test_sigterm_waits_for_no_client(book: Database) -> None:
    """Hanging, dripping and idle connections are closed at once, and the exit code is 0."""
    with ChaosGatewayProcess(book, replace(PROFILE, calls=CallWeights.only(B.TIME_OUT, B.DRIP), hang_seconds=60)) as it:
        async with connected(it.url) as idle, connected(it.url) as one, connected(it.url) as other:
            assert await idle.is_kept()
            await one.pay(1)
            await other.pay(3)
            while sum((await get(it.url, "/behaviours")).values()) < 2:
                pass
            code, said = await asyncio.wait_for(asyncio.to_thread(it.terminate), 5)

    assert (code, said) == (0, "")


async def test_a_taken_port_is_named(book: Database) -> None:
    """The second gateway on a port names the port and ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        process = ChaosGatewayProcess(book, HONEST, port=taken.getsockname()[1])
        await asyncio.to_thread(process.process.wait, 20)
        _, said = process.terminate()

    assert process.process.returncode != 0
    assert f"port {process.port} on 127.0.0.1 is taken" in said


async def test_a_lost_database_connection_is_503_until_it_is_back(book: Database) -> None:
    """Callers get 503, and then 200 once the connections are back."""
    with proxy_before(book.url) as proxy:
        async with serving(Database(proxy.url, book.schema), HONEST) as url, connected(url) as client:
            await client.pay(1)
            await client.answer()
            proxy.refusing = True
            proxy.lose_all()
            await client.pay(2)
            away, _, _ = await client.answer()
            proxy.refusing = False
            statuses = [away]
            while 200 not in statuses:
                await client.pay(2)
                statuses.append((await client.answer())[0])

    assert away == 503
    assert set(statuses) == {200, 503}


async def test_a_gateway_whose_book_is_dropped_ends(book: Database) -> None:
    """It ends with an error, so that somebody notices."""
    with ChaosGatewayProcess(book, HONEST) as process:
        with closing(book.connect(application="payment-ledger tests", owner=True)) as connection:
            connection.execute(f'DROP SCHEMA "{book.schema}" CASCADE')
        code = await asyncio.to_thread(process.process.wait, 20)
        _, said = process.terminate()

    assert code != 0
    assert "chaos_keys" in said


async def test_more_connections_than_it_can_serve_are_closed_at_once(
    book: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections that it serves go on."""
    monkeypatch.setattr("processors.simulators.chaos.server.CONNECTIONS_MAX", 2)
    async with serving(book, HONEST) as url, connected(url) as first, connected(url) as second:
        assert await first.is_kept()
        assert await second.is_kept()
        async with connected(url) as third:
            assert await third.rest() == (b"", "closed")
        assert await first.is_kept()
