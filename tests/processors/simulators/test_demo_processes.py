"""The demo gateway as a process: killed, stopped, started beside others, and cut off from its database."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from decimal import Decimal

import httpx
import psycopg
import pytest

from ledger.store.database import Database
from processors.gateways.client import Gateway
from processors.gateways.outcomes import Approved, Unknown
from processors.simulators.demo.scenario import DemoProfile
from processors.simulators.demo.store import Book
from tests.support.gateways.demo_client import GOOD, call_of, effects_of, until_effects
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book, pay_body
from tests.support.proxies import proxy_before

pytestmark = pytest.mark.anyio


async def test_the_book_survives_kill_9_under_load(book: Database) -> None:
    """An approved payment stays approved, and no money moves twice."""
    profile = DemoProfile(timeout_rate=0.0, error_rate=0.1)
    approved: set[int] = set()
    reached = {50: asyncio.Event(), 150: asyncio.Event()}
    with DemoGatewayProcess(book, profile) as process:
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


async def test_hanging_calls_delay_neither_other_calls_nor_the_end(book: Database) -> None:
    """Forty callers hang, one gets an answer, and SIGTERM ends everything at once with exit code 0."""
    with DemoGatewayProcess(book, DemoProfile(timeout_rate=0.0, error_rate=0.0, hang_seconds=60)) as process:
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


async def test_a_dripping_answer_does_not_delay_the_end(book: Database) -> None:
    """SIGTERM cuts an answer short that would drip for a minute."""
    with DemoGatewayProcess(book, DemoProfile(hang_seconds=60)) as process:
        async with Gateway(process.url, timeout_seconds=20) as gateway:
            call = asyncio.create_task(gateway.pay(call_of(1, Decimal("9000.31"), "payment-1")))
            await until_effects(process.url, 1)
            started = time.monotonic()
            exit_code, said = await asyncio.to_thread(process.terminate)
            took = time.monotonic() - started
            await call

    assert (exit_code, said) == (0, "")
    assert took < 2.5


async def test_a_book_is_created_once_even_if_several_open_it(postgres_url: str) -> None:
    """CREATE ... IF NOT EXISTS alone can fail if several processes run it at the same moment."""
    for _ in range(5):
        with fresh_book(postgres_url) as database:
            async with AsyncExitStack() as stack:
                books = [Book(database.url, schema=database.schema) for _ in range(6)]
                await asyncio.gather(*(stack.enter_async_context(book) for book in books))

                assert [await book.effects(after=0, limit=1) for book in books] == [[]] * 6


async def test_several_processes_share_a_book(book: Database) -> None:
    """Processes that start on an empty database at the same moment give the same answers."""
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
    """The second gateway on a port names the port and ends, instead of sharing it."""
    with DemoGatewayProcess(book, GOOD) as first:
        second = DemoGatewayProcess(book, GOOD, port=first.port)
        await asyncio.to_thread(second.process.wait, 20)
        _, said = second.terminate()

    assert second.process.returncode != 0
    assert f"port {first.port} on 127.0.0.1 is taken" in said


async def test_an_existing_book_needs_no_right_to_create_one(book: Database) -> None:
    """A role that may only read and write can serve an existing book."""
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


async def test_a_lost_database_connection_is_503_until_it_is_back(book: Database) -> None:
    """Callers get 503, and then 200 once the connections are back."""
    with proxy_before(book.url) as proxy, DemoGatewayProcess(Database(proxy.url, book.schema), GOOD) as process:
        async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=30) as client:
            await client.post("/pay", json=pay_body(1))
            proxy.lose_all()
            statuses = [(await client.post("/pay", json=pay_body(2))).status_code for _ in range(10)]

    assert set(statuses) == {200, 503}
    assert statuses[-1] == 200
