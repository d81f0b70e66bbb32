"""The chaos gateway's behaviours as callers see them, byte by byte, each as its table row says."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from ledger.store.database import Database
from processors.simulators.chaos.scenario import Behaviour, ChaosProfile, Effect, draw_call
from processors.simulators.chaos.store import ChaosBook
from tests.support.gateways.chaos_client import HONEST, PROFILE, calls_that, connected, get, moved
from tests.support.gateways.chaos_process import ChaosGatewayProcess, serving
from tests.support.gateways.demo_process import pay_body

pytestmark = pytest.mark.anyio

B = Behaviour
HANG_SECONDS = PROFILE.hang_seconds
PAYMENTS = range(1, 13)
"""Enough payments for each behaviour to occur in all its forms."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on uvloop as the service does, because its transports differ from asyncio's."""
    return "asyncio", {"use_uvloop": True}


def drawn(profile: ChaosProfile, *effects: Effect) -> set[int]:
    """The payments whose first attempt draws one of the given effects."""
    acts = {n: draw_call(profile, gateway_key=f"payment-{n}", attempt=1) for n in PAYMENTS}
    return {n for n, act in acts.items() if act.effect in effects}


# --- one well-formed answer ------------------------------------------------------------------------------------------


def says(*words: str) -> Callable[[dict[str, str], bytes], None]:
    def check(_: dict[str, str], body: bytes) -> None:
        assert json.loads(body)["status"] in words

    return check


def says_when(headers: dict[str, str], _: bytes) -> None:
    wait = parsedate_to_datetime(headers["retry-after"]).replace(tzinfo=None)
    since = parsedate_to_datetime(headers["date"]).replace(tzinfo=None)
    assert timedelta(0) <= wait - since <= timedelta(seconds=3)


def says_how_long(headers: dict[str, str], _: bytes) -> None:
    assert headers["retry-after"] in {"0", "1", "2", "soon"}


def leads_elsewhere(headers: dict[str, str], _: bytes) -> None:
    assert headers["location"].startswith("/elsewhere/")


def is_no_json(_: dict[str, str], body: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Invalid|constant"):
        json.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"Invalid constant {name}")


def is_json_in_another_charset(headers: dict[str, str], body: bytes) -> None:
    charset = headers["content-type"].partition("charset=")[2]
    assert json.loads(body.decode(charset))["status"] in {"ok", "declined"}
    with pytest.raises(ValueError, match=r"codec|Expecting|BOM|delimiter"):
        json.loads(body.decode())


def is_huge(_: dict[str, str], body: bytes) -> None:
    assert len(body) > 2 * 65536
    assert json.loads(body)["status"] in {"ok", "declined"}


@pytest.mark.parametrize(
    ("behaviour", "statuses", "check"),
    [
        (B.APPROVE, {200}, says("ok")),
        (B.DECLINE, {200}, says("declined")),
        (B.REFUSE, {400, 402, 403, 404, 410, 422}, says("declined")),
        (B.REFUSE_AGAIN, {400, 402, 403, 404, 410, 422}, says("declined")),
        (B.TURN_AWAY, {429}, says_how_long),
        (B.TURN_AWAY_UNTIL, {429}, says_when),
        (B.SERVER_ERROR, {500, 502, 503, 504, 599}, says("error")),
        (B.NOT_NOW, {408, 409, 425}, says("error")),
        (B.SAY_PENDING, {200, 202}, says("pending", "timeout")),
        (B.REDIRECT, {301, 302, 303, 307, 308}, leads_elsewhere),
        (B.NOT_JSON, {200}, is_no_json),
        (B.WRONG_CHARSET, {200}, is_json_in_another_charset),
        (B.HUGE_BODY, {200}, is_huge),
        (B.CLOSE_AFTER_ANSWER, {200}, says("ok", "declined")),
        (B.CLOSE_ON_NEXT, {200}, says("ok", "declined")),
        (B.ANSWER_TWICE, {200}, says("ok", "declined")),
    ],
    ids=lambda value: value.value if isinstance(value, Behaviour) else "",
)
async def test_an_answer_is_what_its_row_says(
    book: Database, behaviour: Behaviour, statuses: set[int], check: Callable[[dict[str, str], bytes], None]
) -> None:
    """Status, headers and body are those of the row, and the money moved if that was drawn."""
    profile = calls_that(behaviour, settle_seconds=0.0)
    seen = set()
    async with serving(book, profile) as url:
        for payment_id in PAYMENTS:
            async with connected(url) as client:
                await client.pay(payment_id)
                status, headers, body = await client.answer()
            check(headers, body)
            seen.add(status)
        found = await moved(url)

    assert seen <= statuses
    assert len(seen) >= len(statuses) / 2
    assert drawn(profile, Effect.APPROVE) <= found <= drawn(profile, Effect.APPROVE, Effect.APPROVE_LATER)


@pytest.mark.parametrize("behaviour", [B.APPROVE, B.REFUSE, B.TURN_AWAY, B.SERVER_ERROR, B.HUGE_BODY, B.CONTINUE_FIRST])
async def test_a_connection_is_kept_unless_the_behaviour_breaks_it(book: Database, behaviour: Behaviour) -> None:
    """So the behaviours that break connections also occur on kept ones."""
    async with serving(book, calls_that(behaviour)) as url, connected(url) as client:
        await client.pay(1)
        await client.final_answer()

        assert await client.is_kept()


async def test_a_repeated_call_may_be_refused_although_it_was_approved(book: Database) -> None:
    """The refusal says nothing about the first call. An inquiry does."""
    async with serving(book, HONEST) as url, connected(url) as client:
        await client.pay(1)
        await client.answer()
    async with serving(book, calls_that(B.REFUSE_AGAIN, inquiries=HONEST.inquiries)) as url, connected(url) as client:
        await client.pay(1)
        status, _, body = await client.answer()
        await client.ask("GET", "/payments/1")
        truth = json.loads((await client.answer())[2])

    assert status in {400, 403, 422}
    assert json.loads(body)["status"] == "error"
    assert truth["status"] == "ok"


async def test_the_target_of_a_redirect_says_ok_and_moves_nothing(book: Database) -> None:
    """A client that follows the redirect would settle a payment although no money moved."""
    async with serving(book, calls_that(B.REDIRECT)) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, follow_redirects=True) as client:
            answers = {n: await client.post("/pay", json=pay_body(n)) for n in PAYMENTS}
        found = await moved(url)

    assert {answer.json()["status"] for answer in answers.values()} == {"ok"}
    assert found < set(PAYMENTS)


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("behaviour", "has_moved"), [(B.TIME_OUT, False), (B.TIME_OUT_MOVED, True)])
async def test_a_time_out_comes_after_the_effect(book: Database, behaviour: Behaviour, *, has_moved: bool) -> None:
    """The money has moved before the silence starts, or not at all. A caller who waits to the end gets 504."""
    async with serving(book, calls_that(behaviour)) as url, connected(url) as client:
        await client.pay(1)
        assert await client.hears_nothing()
        found = await moved(url)
        status, _, body = await client.answer()
        rest = await client.rest()

    assert found == ({1} if has_moved else set())
    assert (status, json.loads(body)["status"], rest) == (504, "timeout", (b"", "closed"))


async def test_late_money_moves_within_the_settle_time(book: Database) -> None:
    """An inquiry says pending until the money has moved, and ok from then on."""
    profile = calls_that(B.SETTLE_LATE, settle_seconds=3.0, inquiries=HONEST.inquiries)
    latest = max(PAYMENTS, key=lambda n: draw_call(profile, gateway_key=f"payment-{n}", attempt=1).delay)
    async with serving(book, profile) as url, connected(url) as client, connected(url) as other:
        await client.pay(latest)
        assert await client.hears_nothing()
        pending = await get(url, f"/payments/{latest}")
        found_early = await moved(url)
        async with asyncio.timeout(profile.settle_seconds):
            while not await moved(url):
                pass
        await other.ask("GET", f"/payments/{latest}")
        ok = json.loads((await other.answer())[2])

    assert (pending["status"], found_early, ok["status"]) == ("pending", set(), "ok")


async def test_late_money_has_moved_at_its_time_although_the_gateway_was_down(book: Database) -> None:
    """The truth depends only on the time, even if the gateway was down when the money was due."""
    profile = calls_that(B.SETTLE_LATE, settle_seconds=0.5, inquiries=HONEST.inquiries)
    with ChaosGatewayProcess(book, profile) as process:
        async with connected(process.url) as client:
            await client.pay(1)
            assert await client.hears_nothing()
        await asyncio.to_thread(process.kill)
        await asyncio.sleep(profile.settle_seconds)
        await asyncio.to_thread(process.restart)
        answer = await get(process.url, "/payments/1")

    assert answer["status"] == "ok"


async def test_a_decline_overtakes_late_money(book: Database) -> None:
    """Once the gateway has said declined, the late money is cancelled."""
    async with serving(book, calls_that(B.SETTLE_LATE, settle_seconds=3600.0)) as url, connected(url) as client:
        await client.pay(1)
        assert await client.hears_nothing()
    async with serving(book, calls_that(B.DECLINE)) as url, connected(url) as client:
        await client.pay(1)
        declined = json.loads((await client.answer())[2])
        async with ChaosBook(book.url, schema=book.schema) as opened:
            on_its_way = await opened.seconds_until_due()
        found = await moved(url)

    assert (declined["status"], on_its_way, found) == ("declined", None, set())


async def test_a_dripping_answer_takes_longer_than_any_deadline(book: Database) -> None:
    """No single wait is long, and the last byte comes after every deadline."""
    async with serving(book, calls_that(B.DRIP)) as url, connected(url) as client:
        began = asyncio.get_running_loop().time()
        await client.pay(1)
        await client.first_byte()
        first_byte = asyncio.get_running_loop().time() - began
        _, _, body = await client.answer()
        whole = asyncio.get_running_loop().time() - began

    assert first_byte < HANG_SECONDS / 2 < HANG_SECONDS * 0.8 < whole
    assert body.startswith(b"  ")
    assert json.loads(body)["status"] in {"ok", "declined"}


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "starts", "endings"),
    [
        (B.HANG_UP, (b"",), {"closed", "reset"}),
        (B.RESET_IN_BODY, (b"HTTP/1.1 200 OK",), {"reset"}),
        (B.TRUNCATED_BODY, (b"HTTP/1.1 200 OK",), {"closed"}),
        (B.GARBAGE_HEAD, (b"SSH", b"\x16", b"ICY", b"HTTP/1.1 ", b"\0"), {"closed"}),
        (B.CONTINUE_ONLY, (b"HTTP/1.1 100 Continue\r\n\r\n",), {"closed", "reset"}),
    ],
    ids=lambda value: value.value if isinstance(value, Behaviour) else "",
)
async def test_a_connection_ends_as_its_row_says(
    book: Database, behaviour: Behaviour, starts: tuple[bytes, ...], endings: set[str]
) -> None:
    """The answer is partial or missing, the connection is closed or reset, and the money moved if that was drawn."""
    profile = calls_that(behaviour)
    seen = set()
    async with serving(book, profile) as url:
        for payment_id in PAYMENTS:
            async with connected(url) as client:
                await client.pay(payment_id)
                data, ending = await client.rest()
            assert data.startswith(starts)
            assert behaviour is not B.HANG_UP or data == b""
            assert not is_whole(data)
            seen.add(ending)
        found = await moved(url)

    assert seen == endings
    assert found == drawn(profile, Effect.APPROVE)
    assert found < set(PAYMENTS)


def is_whole(data: bytes) -> bool:
    """Whether these bytes are a complete answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.fullmatch(rb"(?s)HTTP/1.1 [2-5][0-9]{2} .*\r\nContent-Length: ([0-9]+)\r\n.*", head + b"\r\n")
    chunked = b"chunked" in head and body.endswith(b"0\r\n\r\n")
    return chunked or (length is not None and len(body) >= int(length[1]))


async def test_interim_answers_come_before_the_real_one(book: Database) -> None:
    """One or more interim answers of 100, 102 and 103 come first, then 200."""
    seen = set()
    async with serving(book, calls_that(B.CONTINUE_FIRST)) as url:
        for payment_id in PAYMENTS:
            async with connected(url) as client:
                await client.pay(payment_id)
                seen.add(tuple(await client.final_answer()))

    assert seen == {(100, 200), (100, 100, 100, 200), (102, 103, 200)}


async def test_a_connection_is_closed_although_the_answer_said_keep_alive(book: Database) -> None:
    """The caller may already have sent the next call."""
    async with serving(book, calls_that(B.CLOSE_AFTER_ANSWER)) as url, connected(url) as client:
        await client.pay(1)
        _, headers, _ = await client.answer()

        assert headers["connection"] == "keep-alive"
        assert await client.rest() == (b"", "closed")


async def test_a_kept_connection_is_closed_as_the_next_request_arrives(book: Database) -> None:
    """The request is not read, so it has no effect, but its caller cannot know that."""
    endings = set()
    async with serving(book, calls_that(B.CLOSE_ON_NEXT)) as url:
        for payment_id in PAYMENTS:
            async with connected(url) as client:
                await client.pay(payment_id)
                await client.answer()
                assert await client.hears_nothing() or payment_id > 1
                await client.pay(100 + payment_id)
                data, ending = await client.rest()
            assert data == b""
            endings.add(ending)
        found = await moved(url)

    assert endings == {"closed", "reset"}
    assert found <= set(PAYMENTS)


async def test_a_second_answer_arrives_in_place_of_the_next_payments_answer(book: Database) -> None:
    """It comes at once, later, or when the next request arrives, and equals the first answer byte for byte."""
    async with serving(book, calls_that(B.ANSWER_TWICE)) as url:
        for payment_id in PAYMENTS:
            async with connected(url) as client:
                await client.pay(payment_id)
                first = await client.answer()
                await client.pay(100 + payment_id)
                second = await client.answer()
                rest = await client.rest()
            assert first == second
            assert rest[0] == b""
        found = await moved(url)

    assert found <= set(PAYMENTS)
