"""The demo gateway as its callers see it: a real process over a real Postgres."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from ledger.database import Database
from processors.demo_gateway_book import Book
from processors.demo_gateway_plan import MAGIC_AMOUNTS, Manners
from processors.gateway import Gateway, PayCall
from processors.outcomes import Approved, Declined, GatewayAnswer, InquiryAnswer, NoClearAnswer, TurnedAway, Unknown
from tests.ledger.postgres_proxy import proxy_before
from tests.processors.demo_gateway_process import DemoGatewayProcess, fresh_book, pay_body

pytestmark = pytest.mark.anyio

GOOD = Manners(timeout_rate=0.0, error_rate=0.0, seed=1, hang_seconds=60)
DEADLINE_SECONDS = 1.0
_EXACT = msgspec.json.Decoder(float_hook=Decimal)


@pytest.fixture
def book(postgres_url: str) -> Iterator[Database]:
    """A book in a schema of its own, not made yet."""
    with fresh_book(postgres_url) as database:
        yield database


@pytest.fixture(scope="module")
def shared_process(postgres_url: str) -> Iterator[DemoGatewayProcess]:
    """One well-mannered gateway for all tests that need no book of their own."""
    with fresh_book(postgres_url) as database, DemoGatewayProcess(database, GOOD) as process:
        yield process


@pytest.fixture
async def http(shared_process: DemoGatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the shared gateway, with the patience to hear everything."""
    async with httpx.AsyncClient(base_url=shared_process.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
async def gateway(shared_process: DemoGatewayProcess) -> AsyncIterator[Gateway]:
    """Our own client of the shared gateway."""
    async with Gateway(shared_process.url, timeout_seconds=DEADLINE_SECONDS) as client:
        yield client


_ids = iter(range(1, 10**6))


def payment_id() -> int:
    """Give an id that no other test uses."""
    return next(_ids)


def call_of(payment: int, amount: Decimal, key: str) -> PayCall:
    """Make a call as the worker does."""
    return PayCall(
        payment_id=payment,
        user_id=7,
        kind="withdraw",
        amount_minor=int(amount * 100),
        fee_minor=400,
        currency="USD",
        gateway_key=key,
    )


async def effects_of(url: str) -> list[dict[str, Any]]:
    """Read the whole list of effects, page by page, with exact amounts."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        while after is not None:
            answer = await client.get("/effects", params={"after": after, "limit": 100})
            page = _EXACT.decode(answer.content)
            found += page["items"]
            after = page["next_after"]
    return found


async def until_effects(url: str, count: int) -> None:
    """Wait until so much money has moved."""
    while True:
        if len(await effects_of(url)) >= count:
            return
        await asyncio.sleep(0.02)


# --- one key, one effect --------------------------------------------------------------------------------------------


async def test_a_payment_is_approved_once_for_its_key(http: httpx.AsyncClient) -> None:
    """The same key again brings the same answer and no further effect."""
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
    """Callers who do not wait for each other get one answer fifty times."""
    payment = payment_id()
    key = {"Idempotency-Key": "at-once"}

    answers = await asyncio.gather(*(http.post("/pay", json=pay_body(payment), headers=key) for _ in range(50)))

    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["key"] == "at-once"]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["status"] == "ok"
    assert len(effects) == 1


async def test_a_call_without_key_has_that_of_its_payment(http: httpx.AsyncClient) -> None:
    """Without Idempotency-Key the payment's id serves; quotes around a key do not matter."""
    payment = payment_id()

    await http.post("/pay", json=pay_body(payment))
    await http.post("/pay", json=pay_body(payment), headers={"Idempotency-Key": f'"payment-{payment}"'})

    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == payment]
    assert [effect["key"] for effect in effects] == [f"payment-{payment}"]
    assert (await http.get(f"/payments/{payment}")).json()["status"] == "ok"


@pytest.mark.parametrize("other", [{"amount": "200.01"}, {"user_id": 8}, {"type": "withdraw"}, {"commission": "0"}])
async def test_a_key_used_for_something_else_is_refused(http: httpx.AsyncClient, other: dict[str, Any]) -> None:
    """A key stands for one request; the refusal leaves no trace."""
    payment = payment_id()
    await http.post("/pay", json=pay_body(payment))

    refused = await http.post("/pay", json=pay_body(payment) | other)

    assert refused.status_code == 422
    assert (await http.post("/pay", json=pay_body(payment))).json()["status"] == "ok"


async def test_a_key_is_that_of_one_payment(http: httpx.AsyncClient) -> None:
    """Another payment under a used key is refused, and asking about it under that key finds nothing."""
    one, other = payment_id(), payment_id()
    key = {"Idempotency-Key": f"payment-{one}"}
    await http.post("/pay", json=pay_body(one), headers=key)

    assert (await http.post("/pay", json=pay_body(other), headers=key)).status_code == 422
    assert (await http.get(f"/payments/{other}", headers=key)).status_code == 404


async def test_the_effects_are_listed_exactly_and_in_pages(http: httpx.AsyncClient) -> None:
    """Amounts come back as the exact numbers that were sent."""
    first, second = payment_id(), payment_id()
    await http.post("/pay", json=pay_body(first, "0.10"))
    before = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == first]
    body = f'{{"payment_id":{second},"user_id":1,"amount":1e2,"commission":0,"type":"withdraw"}}'
    await http.post("/pay", content=body)

    raw = (await http.get("/effects", params={"after": before[0]["number"], "limit": 1})).content
    page = _EXACT.decode(raw)

    assert (before[0]["amount"], before[0]["commission"]) == (Decimal("0.10"), Decimal("4.00"))
    assert [page["items"][0][name] for name in ("payment_id", "amount", "type")] == [second, 100, "withdraw"]
    assert page["items"][0]["at"].endswith("Z")
    assert page["next_after"] is None


# --- requests that cannot be understood -----------------------------------------------------------------------------


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
async def test_a_body_that_cannot_be_understood_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    """Whatever is sent, the answer says that it is not acceptable, and is no server error."""
    answer = await http.post("/pay", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["detail"]


@pytest.mark.parametrize("key", ["x" * 256, "a\tb", "caf\u00e9"])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, key: str) -> None:
    """Keys are up to 255 printable ASCII characters."""
    header = {b"Idempotency-Key": key.encode("latin-1")}

    assert (await http.post("/pay", json=pay_body(payment_id()), headers=header)).status_code == 422
    assert (await http.get("/payments/1", headers=header)).status_code == 422


async def test_what_is_too_large_or_elsewhere_is_no_server_error(http: httpx.AsyncClient) -> None:
    """The usual statuses for the usual mistakes."""
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


# --- magic amounts --------------------------------------------------------------------------------------------------


async def all_attempts(gateway: Gateway, payment: int, amount: Decimal, key: str) -> list[GatewayAnswer]:
    """Call up to three times, as long as an answer leaves something to hope for."""
    answers = []
    for _ in range(3):
        answers.append(await gateway.pay(call_of(payment, amount, key)))
        if isinstance(answers[-1].outcome, Approved | Declined):
            break
    return answers


def end_of(answers: list[GatewayAnswer], inquiry: InquiryAnswer) -> str:
    """Tell what becomes of a payment, by the rules for attempts and inquiry."""
    match answers[-1].outcome:
        case Approved():
            return "success"
        case Declined():
            return "failed"
        case TurnedAway() if all(isinstance(answer.outcome, TurnedAway) for answer in answers):
            return "failed"
        case _:
            return end_by(inquiry)


def end_by(inquiry: InquiryAnswer) -> str:
    """Tell what becomes of a payment that the attempts left unknown."""
    match inquiry.outcome:
        case Approved():
            return "success"
        case Declined():
            return "failed"
        case NoClearAnswer():
            return "in doubt"


MAGIC_ANSWERS: dict[str, list[object]] = {
    "9000.01": [Approved],
    "9000.02": [Declined("declined")],
    "9000.03": [Declined("gateway_error_402")],
    "9000.04": [Declined("declined")],
    "9000.10": [Unknown("gateway_error_502"), Approved],
    "9000.11": [Unknown("gateway_error_502")] * 3,
    "9000.12": [Unknown("gateway_error_502")] * 3,
    "9000.20": [Unknown("timeout"), Approved],
    "9000.21": [Unknown("timeout"), Approved],
    "9000.22": [Unknown("timeout")] * 3,
    "9000.23": [Unknown("timeout")] * 3,
    "9000.30": [Unknown("answer_unreadable"), Approved],
    "9000.31": [Unknown("timeout"), Approved],
    "9000.32": [Unknown("connection_lost"), Approved],
    "9000.40": [TurnedAway("gateway_error_429", 2.0), Approved],
    "9000.41": [TurnedAway("gateway_error_429", 2.0)] * 3,
    "9000.50": [Unknown("gateway_error_502")] * 3,
    "9000.51": [Unknown("gateway_error_502")] * 3,
}
MOVED = {"01", "10", "12", "20", "21", "22", "30", "31", "32", "40", "51"}


@pytest.mark.parametrize("amount", MAGIC_AMOUNTS, ids=str)
async def test_each_magic_amount_does_what_its_row_says(
    gateway: Gateway, http: httpx.AsyncClient, amount: Decimal
) -> None:
    """Attempts, inquiry, the end that follows, and whether the money moved: as the table has it."""
    payment = payment_id()
    key = f"payment-{payment}"

    answers = await all_attempts(gateway, payment, amount, key)
    inquiry = await gateway.inquire(payment, key)
    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == payment]

    told = [Approved if isinstance(answer.outcome, Approved) else answer.outcome for answer in answers]
    assert MAGIC_ANSWERS[str(amount)] == told
    assert MAGIC_AMOUNTS[amount].ends.split(",")[0] == end_of(answers, inquiry)
    assert (1 if str(amount)[-2:] in MOVED else 0) == len(effects)


async def test_the_one_that_is_approved_after_a_requeue(gateway: Gateway) -> None:
    """A new series has a key of its own, and this amount succeeds under it."""
    payment = payment_id()
    amount = Decimal("9000.04")

    first = await gateway.pay(call_of(payment, amount, f"payment-{payment}"))
    second = await gateway.pay(call_of(payment, amount, f"payment-{payment}-2"))

    assert [Declined, Approved] == [type(first.outcome), type(second.outcome)]


def test_magic_amounts_lie_where_they_are_said_to_lie() -> None:
    """All between 9000.01 and 9000.99, so that all others are ordinary."""
    assert all(Decimal("9000.01") <= amount <= Decimal("9000.99") for amount in MAGIC_AMOUNTS)


# --- ordinary amounts -----------------------------------------------------------------------------------------------


async def ends_of_first_attempts(url: str, payments: int, *, deadline_seconds: float) -> list[str]:
    """Call once for each of many payments, all at once, and give what was told for each."""
    async with Gateway(url, timeout_seconds=deadline_seconds, connections_max=32) as gateway:
        room = asyncio.Semaphore(32)

        async def end(payment: int) -> str:
            async with room:
                answer = await gateway.pay(call_of(payment, Decimal(200), f"payment-{payment}"))
                return answer.error or "approved"

        return await asyncio.gather(*(end(payment) for payment in range(1, payments + 1)))


async def test_errors_and_time_outs_come_in_the_given_proportions(book: Database) -> None:
    """A quarter errors, a tenth time-outs; of the time-outs about half moved the money, and of the errors none."""
    manners = Manners(timeout_rate=0.10, error_rate=0.25, seed=7, hang_seconds=60)
    with DemoGatewayProcess(book, manners) as process:
        ends = await ends_of_first_attempts(process.url, 400, deadline_seconds=2.0)
        moved = {effect["payment_id"] for effect in await effects_of(process.url)}

    count = Counter(ends)
    told = {end: {payment for payment, other in enumerate(ends, 1) if other == end} for end in count}
    assert 75 <= count["gateway_error_502"] <= 125
    assert 22 <= count["timeout"] <= 60
    assert count["approved"] == 400 - count["gateway_error_502"] - count["timeout"]
    assert told["approved"] <= moved
    assert not told["gateway_error_502"] & moved
    assert 0 < len(told["timeout"] & moved) < count["timeout"]


async def test_a_key_that_was_decided_is_answered_at_once(book: Database) -> None:
    """A time-out that moved the money is the last under its key, however often new calls time out."""
    with DemoGatewayProcess(book, Manners(timeout_rate=1.0, error_rate=0.0, seed=3, hang_seconds=60)) as process:
        first = await ends_of_first_attempts(process.url, 20, deadline_seconds=DEADLINE_SECONDS)
        moved = {effect["payment_id"] for effect in await effects_of(process.url)}
        async with Gateway(process.url, timeout_seconds=20) as gateway:
            payments = range(1, 21)
            keys = [f"payment-{payment}" for payment in payments]
            asked = [await gateway.inquire(payment, key) for payment, key in zip(payments, keys, strict=True)]
            second = await asyncio.gather(
                *(gateway.pay(call_of(payment, Decimal(200), f"payment-{payment}")) for payment in sorted(moved))
            )

    assert set(first) == {"timeout"}
    assert 0 < len(moved) < 20
    assert moved == {payment for payment in payments if isinstance(asked[payment - 1].outcome, Approved)}
    assert {"not_found"} == {inquiry.error for inquiry in asked if inquiry.error}
    assert all(isinstance(answer.outcome, Approved) for answer in second)


async def test_a_seed_decides_everything(postgres_url: str) -> None:
    """Two gateways with one seed treat all alike; another seed does not."""
    ends = []
    for seed in (1, 1, 2):
        manners = Manners(timeout_rate=0.0, error_rate=0.5, seed=seed)
        with fresh_book(postgres_url) as book, DemoGatewayProcess(book, manners) as process:
            ends.append(await ends_of_first_attempts(process.url, 40, deadline_seconds=20))

    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


async def test_rates_of_nothing_and_of_all(postgres_url: str) -> None:
    """Rates 0 never err, and an error rate of 1 always does."""
    for error_rate, told in ((0.0, "approved"), (1.0, "gateway_error_502")):
        manners = Manners(timeout_rate=0.0, error_rate=error_rate)
        with fresh_book(postgres_url) as book, DemoGatewayProcess(book, manners) as process:
            assert {told} == set(await ends_of_first_attempts(process.url, 30, deadline_seconds=20))


# --- processes ------------------------------------------------------------------------------------------------------


async def test_the_book_survives_kill_9_under_load(book: Database) -> None:
    """Who was told ok before is told ok afterwards, and nobody's money moved twice."""
    manners = Manners(timeout_rate=0.0, error_rate=0.1)
    approved: set[int] = set()
    reached = {50: asyncio.Event(), 150: asyncio.Event()}
    with DemoGatewayProcess(book, manners) as process:
        async with Gateway(process.url, timeout_seconds=2) as gateway:

            async def caller(first: int) -> None:
                for payment in range(first, first + 30):
                    outcome: object = None
                    while not isinstance(outcome, Approved):
                        answer = await gateway.pay(call_of(payment, Decimal(200), f"payment-{payment}"))
                        outcome = answer.outcome
                        await asyncio.sleep(0 if answer.http_status else 0.02)
                    approved.add(payment)
                    if len(approved) in reached:
                        reached[len(approved)].set()

            async def killer() -> None:
                for moment in reached.values():
                    await moment.wait()
                    await asyncio.to_thread(process.kill)
                    await asyncio.to_thread(process.restart)

            await asyncio.gather(killer(), *(caller(100 * number + 1) for number in range(8)))
            inquiries = [await gateway.inquire(payment, f"payment-{payment}") for payment in sorted(approved)]
        effects = Counter(effect["payment_id"] for effect in await effects_of(process.url))

    assert len(approved) == 8 * 30
    assert all(isinstance(inquiry.outcome, Approved) for inquiry in inquiries)
    assert dict.fromkeys(approved, 1) == effects


async def test_calls_left_hanging_do_not_hold_up_the_others_or_the_end(book: Database) -> None:
    """Forty callers hang, one gets through, and a SIGTERM ends it all at once with exit code 0."""
    with DemoGatewayProcess(book, Manners(timeout_rate=0.0, error_rate=0.0, hang_seconds=60)) as process:
        async with Gateway(process.url, timeout_seconds=20, connections_max=50) as gateway:
            hanging = [
                asyncio.create_task(gateway.pay(call_of(number, Decimal("9000.22"), f"payment-{number}")))
                for number in range(1, 41)
            ]
            await until_effects(process.url, 40)
            through = await gateway.pay(call_of(99, Decimal(200), "payment-99"))
            started = time.monotonic()
            exit_code, said = await asyncio.to_thread(process.terminate)
            took = time.monotonic() - started
            hung = await asyncio.gather(*hanging)

    assert isinstance(through.outcome, Approved)
    assert (exit_code, said) == (0, "")
    assert took < 2.5
    assert all(isinstance(answer.outcome, Unknown) for answer in hung)


async def test_a_slow_drip_does_not_hold_up_the_end(book: Database) -> None:
    """An answer that would go on for a minute is cut short by SIGTERM."""
    with DemoGatewayProcess(book, Manners(hang_seconds=60)) as process:
        async with Gateway(process.url, timeout_seconds=20) as gateway:
            call = asyncio.create_task(gateway.pay(call_of(1, Decimal("9000.31"), "payment-1")))
            await until_effects(process.url, 1)
            started = time.monotonic()
            exit_code, said = await asyncio.to_thread(process.terminate)
            took = time.monotonic() - started
            await call

    assert (exit_code, said) == (0, "")
    assert took < 2.5


async def test_a_book_is_made_once_however_many_open_it(postgres_url: str) -> None:
    """CREATE ... IF NOT EXISTS alone would fail for some of those who do it at the same moment."""
    for _ in range(5):
        with fresh_book(postgres_url) as database:
            async with AsyncExitStack() as stack:
                books = [Book(database.url, schema=database.schema) for _ in range(6)]
                await asyncio.gather(*(stack.enter_async_context(book) for book in books))

                assert [await book.effects(after=0, limit=1) for book in books] == [[]] * 6


async def test_several_processes_share_a_book(book: Database) -> None:
    """Processes that start on an empty database at the same moment tell the same story."""
    processes = [DemoGatewayProcess(book, GOOD) for _ in range(3)]
    try:
        for process in processes:
            await asyncio.to_thread(process.wait_until_ready)
        bodies = set()
        for process in processes:
            async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client:
                bodies.add((await client.post("/pay", json=pay_body(1))).content)
    finally:
        for process in processes:
            process.terminate()

    assert len(bodies) == 1


async def test_a_taken_port_is_named(book: Database) -> None:
    """The second on a port says so and ends, instead of sharing the port unnoticed."""
    with DemoGatewayProcess(book, GOOD) as first:
        second = DemoGatewayProcess(book, GOOD, port=first.port)
        await asyncio.to_thread(second.process.wait, 20)
        _, said = second.terminate()

    assert second.process.returncode != 0
    assert f"port {first.port} on 127.0.0.1 is taken" in said


async def test_a_book_made_by_somebody_else_needs_no_right_to_make_one(book: Database) -> None:
    """A role that may only read and write serves a book that exists."""
    with DemoGatewayProcess(book, GOOD):
        pass
    role = f"{book.schema}_reader"
    with psycopg.connect(book.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}")
        connection.execute(f"GRANT USAGE ON SCHEMA {book.schema} TO {role}")
        connection.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {book.schema} TO {role}")
        try:
            restricted = Database(psycopg.conninfo.make_conninfo(book.url, options=f"-c role={role}"), book.schema)
            with DemoGatewayProcess(restricted, GOOD) as process:
                async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client:
                    answer = await client.post("/pay", json=pay_body(1))
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")

    assert answer.json()["status"] == "ok"


async def test_a_database_that_goes_away_is_a_503_and_comes_back(book: Database) -> None:
    """Callers are told that nothing is known, and all is well once the connections are back."""
    with proxy_before(book.url) as proxy, DemoGatewayProcess(Database(proxy.url, book.schema), GOOD) as process:
        async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=30) as client:
            await client.post("/pay", json=pay_body(1))
            proxy.lose_all()
            statuses = [(await client.post("/pay", json=pay_body(2))).status_code for _ in range(10)]

    assert set(statuses) == {200, 503}
    assert statuses[-1] == 200
