"""A worker on a copied store that was activated, while calls of the old store's worker may be unrecorded.

The old store has called the gateway and has not recorded the outcome. For any answers of the gateway to the new
store, no payment fails whose money moved, and no money moves twice.
"""

import asyncio
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount, RequestDeposit, RequestWithdrawal
from ledger.domain.events import facts_of
from ledger.export.activate import activate
from ledger.export.exporter import export_to_stream
from ledger.export.importer import import_log
from ledger.store.database import Database
from ledger.writer.writer import Writer
from processors.gateways.client import Gateway, PayCall
from processors.payments.retry_policy import RetryPolicy
from processors.simulators.demo.scenario import DemoProfile
from tests.processors.payments.observing import WITHIN_SECONDS, attempts, ended
from tests.support.databases import fresh_ledger
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book
from tests.support.gateways.scripted import BUSY, DECLINED, NOT_FOUND, OK, PENDING, ScriptedGateway
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, working


@pytest.fixture
def copy(postgres_url: str) -> Iterator[Database]:
    """Yield an empty store for a copy."""
    with fresh_ledger(postgres_url) as database:
        yield database


@contextmanager
def moved(source: Database, copy: Database) -> Iterator[Ledger]:
    """Export a log, import it and activate the copy. Yields the copy for reading."""
    exported = io.BytesIO()
    export_to_stream(source, exported)
    exported.seek(0)
    import_log(copy, exported)
    activate(copy)
    with Ledger(copy) as ledger:
        yield ledger


def request(writer: Writer, amount: str, *, withdraw: bool = False) -> int:
    kind = RequestWithdrawal if withdraw else RequestDeposit
    command: Any = kind(command_id="c", account_id=1, amount=Decimal(amount), fee_rate_ppm=20_000)
    payment_id: int = writer.submit(command).result(WITHIN_SECONDS).payment_id
    return payment_id


@pytest.fixture
def opened(writer: Writer) -> Writer:
    """Return a writer of a ledger with one account."""
    writer.submit(OpenAccount(command_id="o", opening=Decimal(1_000_000), currency="USD")).result(WITHIN_SECONDS)
    return writer


@pytest.mark.parametrize("says", [DECLINED, BUSY], ids=["declined", "busy"])
def test_a_payment_whose_call_was_under_way_is_asked_about_before_it_fails(
    database: Database, copy: Database, opened: Writer, says: bytes
) -> None:
    """The old store's call moved the money, and the new store's calls are refused. An inquiry finds the truth."""
    payment_id = request(opened, "50", withdraw=True)

    with (
        ScriptedGateway(calls=[says], inquiries=[PENDING, OK]) as gateway,
        moved(database, copy) as ledger,
        working(copy, gateway.url),
    ):
        payment, account = ended(ledger, payment_id), ledger.account(1)

    assert (payment.state, payment.ended_by) == ("succeeded", "inquiry")
    assert attempts(copy)[0] == (1, 1, "unknown", "lease_expired", False)
    assert set(gateway.of("POST")) == {(payment_id, f"payment-{payment_id}")}
    assert account.posted_minor == 99_994_900


def test_a_payment_that_the_gateway_never_saw_goes_on_by_itself(
    database: Database, copy: Database, opened: Writer
) -> None:
    """The call that counts as made was not made. The next one settles the payment, under the same key."""
    payment_id = request(opened, "50")

    with ScriptedGateway(calls=[OK]) as gateway, moved(database, copy) as ledger, working(copy, gateway.url):
        payment = ended(ledger, payment_id)

    assert (payment.state, payment.attempt) == ("succeeded", 2)
    assert gateway.of("POST") == [(payment_id, f"payment-{payment_id}")]


def test_a_payment_that_was_in_doubt_is_asked_about_again(database: Database, copy: Database, opened: Writer) -> None:
    """It is asked about at once, because no event records the time of the next inquiry."""
    payment_id = request(opened, "50", withdraw=True)
    once = RetryPolicy(attempts_max=1, base_seconds=0.02, cap_seconds=0.05, jitter_seconds=0.0, settle_seconds=0.05)
    with (
        ScriptedGateway(calls=[PENDING], inquiries=[PENDING]) as gateway,
        working(database, gateway.url, policy=once),
        Ledger(database) as before,
    ):
        wait_until(lambda: before.payment(payment_id).state == "in_doubt")

    with (
        ScriptedGateway(calls=[OK], inquiries=[NOT_FOUND]) as gateway,
        moved(database, copy) as ledger,
        working(copy, gateway.url),
    ):
        payment, account = ended(ledger, payment_id), ledger.account(1)

    assert (payment.state, payment.ended_by) == ("failed", "inquiry")
    assert gateway.of("POST") == []
    assert account.held_minor == 0


async def call(database: Database, url: str, payment_ids: list[int]) -> None:
    """Call the gateway as the store's worker does, and record nothing."""
    with Ledger(database) as ledger:
        payments = [ledger.payment(payment_id) for payment_id in payment_ids]
    async with Gateway(url, timeout_seconds=0.3) as gateway:
        for payment in payments:
            await gateway.pay(
                PayCall(
                    *facts_of(payment),
                    gateway_key=payment.gateway_key,
                )
            )


def effects(url: str) -> Counter[int]:
    """Count the gateway's effects by payment."""
    items = httpx.get(f"{url}/effects", params={"limit": 1000}, trust_env=False).json()["items"]
    return Counter(item["payment_id"] for item in items)


def test_a_ledger_that_was_moved_in_the_middle_doubles_and_loses_nothing(
    database: Database, copy: Database, opened: Writer, postgres_url: str
) -> None:
    """The gateway errs and times out. The old store called half of the payments, and recorded nothing."""
    amounts = ["10", "20", "9000.10", "9000.20", "9000.21", "9000.22", "9000.12", "9000.02"] * 3
    payments = {request(opened, amount): amount for amount in amounts}
    profile = DemoProfile(timeout_rate=0, error_rate=0)
    with fresh_book(postgres_url) as book, DemoGatewayProcess(book, profile) as gateway:
        asyncio.run(call(database, gateway.url, list(payments)[::2]))
        with moved(database, copy) as ledger, working(copy, gateway.url, policy=QUICK, timeout_seconds=0.3):
            states = {payment_id: ended(ledger, payment_id).state for payment_id in payments}
        moved_money = effects(gateway.url)

    assert {payment_id for payment_id, state in states.items() if state == "succeeded"} == set(moved_money)
    assert set(moved_money.values()) == {1}
    assert [payments[payment_id] for payment_id, state in states.items() if state == "failed"] == ["9000.02"] * 3
    assert verify_store(copy).ok
