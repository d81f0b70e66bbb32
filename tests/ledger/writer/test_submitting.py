"""Submitting commands: back-pressure, callers that cancel, event loops, and the stop."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future, wait
from typing import cast

import pytest

from ledger.domain.commands import PaymentAcceptance
from ledger.errors import AccountNotFound, LedgerError, WriterBusy, WriterStopped
from ledger.micro_batch import COMMANDS
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.ledgers.running_writer import (
    WITHIN_SECONDS,
    answer,
    deposit,
    given_account,
    holding_head,
    log_topics,
    opening,
    refuses,
    withdrawal,
)
from tests.support.proxies import proxy_before
from tests.support.waiting import wait_until


def test_a_caller_that_cancels_affects_no_other(database: Database, writer: Writer) -> None:
    """The cancelled command may still be carried out. The others get their answers."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit()) for _ in range(3)]
        futures[1].cancel()

    assert {answer(futures[0]).payment_id, answer(futures[2]).payment_id} == {1, 2049}
    assert answer(writer.submit(deposit())).payment_id == 3073


def test_more_commands_than_may_wait_are_refused(database: Database) -> None:
    """The queue of waiting commands is full, so one more is refused."""
    writer = Writer(database, queue_max=3)
    writer.start()
    given_account(writer)
    with holding_head(database):
        first = writer.submit(deposit())
        wait_until(lambda: writer.waiting == 0)
        waiting = [writer.submit(deposit()) for _ in range(3)]

        with pytest.raises(WriterBusy):
            writer.submit(deposit())

    assert {answer(future).payment_id for future in (first, *waiting)} == {1, 1025, 2049, 3073}
    writer.stop()


def test_of_many_that_came_one_by_one_half_are_written_first(database: Database, writer: Writer) -> None:
    """The others follow while the first are answered."""
    halve_from = COMMANDS.halve_from
    assert halve_from is not None
    given_account(writer)
    with holding_head(database):
        first = writer.submit(deposit())
        wait_until(lambda: writer.waiting == 0)
        futures = [writer.submit(deposit()) for _ in range(halve_from)]
    payments = [answer(future) for future in (first, *futures)]

    batches = Counter(payment.requested_at for payment in payments)
    assert list(batches.values()) == [1, halve_from // 2, halve_from // 2]


def test_commands_that_came_together_are_written_together(database: Database, writer: Writer) -> None:
    """Also when a single one came after them."""
    given_account(writer)

    async def ask() -> list[PaymentAcceptance | LedgerError]:
        several, one = await asyncio.gather(
            writer.execute_all([deposit() for _ in range(100)]), writer.execute_all([deposit()])
        )
        return several + one

    with holding_head(database):
        first = writer.submit(deposit())
        wait_until(lambda: writer.waiting == 0)
        asked = Future[list[PaymentAcceptance | LedgerError]]()
        asking = threading.Thread(target=lambda: asked.set_result(asyncio.run(ask())))
        asking.start()
        wait_until(lambda: writer.waiting == 101)

    payments = [answer(first), *cast("list[PaymentAcceptance]", answer(asked))]
    asking.join()

    batches = Counter(payment.requested_at for payment in payments)
    assert sorted(batches.values()) == [1, 101]


def test_stopping_writes_what_was_taken_and_refuses_the_rest(database: Database) -> None:
    """Accepted commands get their answers, and later ones are refused as stopped."""
    writer = Writer(database)
    writer.start()
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit()) for _ in range(20)]
        stopping = threading.Thread(target=writer.stop)
        stopping.start()
        wait_until(lambda: refuses(writer))

    stopping.join()

    assert len({answer(future).payment_id for future in futures}) == 20


def test_what_cannot_be_written_in_time_is_refused_at_the_stop(postgres_url: str) -> None:
    """No command is dropped silently: every future has an answer when the writer has stopped."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), batch_max=1)
        writer.start()
        given_account(writer)
        with holding_head(database):
            futures = [writer.submit(deposit()) for _ in range(3)]
            wait_until(lambda: writer.waiting == 2)
            stopping = threading.Thread(target=writer.stop, kwargs={"timeout_seconds": 0.1})
            stopping.start()
            done, _ = wait(futures[1:], WITHIN_SECONDS)
            refusals = [future.exception() for future in done]

        stopping.join()

        assert [type(refusal) for refusal in refusals] == [WriterStopped, WriterStopped]
        assert answer(futures[0]).payment_id == 1


def test_an_event_loop_gets_answers_and_refusals(writer: Writer) -> None:
    """Each of several commands has its own answer or refusal. A single command raises its refusal."""

    async def ask() -> tuple[list[PaymentAcceptance | LedgerError], bool]:
        await writer.execute(opening())
        several = await writer.execute_all([deposit("1"), deposit("1", account_id=9), withdrawal("1")])
        try:
            await writer.execute(deposit("1", account_id=9))
        except AccountNotFound:
            return several, True
        return several, False

    several, refused = asyncio.run(ask())

    assert [type(one) for one in several] == [PaymentAcceptance, AccountNotFound, PaymentAcceptance]
    assert refused


def test_a_caller_that_has_gone_does_not_stop_its_payment(database: Database, writer: Writer) -> None:
    """The payment is made even if its client hangs up during the write."""
    given_account(writer)

    async def ask_and_leave() -> None:
        task = asyncio.create_task(writer.execute(deposit()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with holding_head(database):
        asyncio.run(ask_and_leave())

    assert answer(writer.submit(deposit())).payment_id == 1025
    assert log_topics(database).count("payment.requested") == 2
