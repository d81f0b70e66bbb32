"""Idempotency keys, looked up and stored in a real Postgres."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.domain.commands import RequestDeposit
from ledger.errors import IdempotencyKeyReused
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.running_writer import (
    answer,
    deposit,
    given_account,
    holding_head,
    log_topics,
    opening,
    waiting_for_head,
    withdrawal,
)
from tests.support.waiting import wait_until


def test_a_key_used_again_gives_the_first_answer(database: Database, writer: Writer) -> None:
    """Also in the same batch, and also from a writer that never saw the first request."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit("200.00", key="k")) for _ in range(5)]
    second = Writer(database)
    second.start()

    answers = [answer(future) for future in futures]
    elsewhere = answer(second.submit(deposit("200", key="k")))
    second.stop()

    assert [one.replayed for one in answers] == [False, True, True, True, True]
    assert {one.payment_id for one in (*answers, elsewhere)} == {1}
    assert log_topics(database).count("payment.requested") == 1


def test_a_key_belongs_to_its_user_and_to_its_request(writer: Writer) -> None:
    """Another user may use the same key; the same user may not use it for something else."""
    given_account(writer)
    given_account(writer)
    first = answer(writer.submit(deposit("200", key="k")))

    other = answer(writer.submit(deposit("200", account_id=2, key="k")))

    assert (first.payment_id, other.payment_id) == (1, 1026)
    for reuse in (deposit("200.01", key="k"), withdrawal("200", key="k")):
        with pytest.raises(IdempotencyKeyReused):
            answer(writer.submit(reuse))


def test_an_account_is_opened_once_for_a_key(database: Database, writer: Writer) -> None:
    """The second request gets the first one's account, as it was opened."""
    first = answer(writer.submit(opening("5", idempotency_key="k", caller="caller")))
    answer(writer.submit(deposit("200")))

    again = answer(writer.submit(opening("5.00", idempotency_key="k", caller="caller")))

    assert (again.account_id, again.opening_minor, again.replayed) == (first.account_id, 500, True)
    assert log_topics(database).count("account.opened") == 1


@pytest.mark.parametrize("met", [True, False], ids=["who has met the other", "who has just started"])
@pytest.mark.parametrize("command", [deposit("200", key="k"), opening("5", idempotency_key="k", caller="caller")])
def test_a_key_that_another_takes_while_one_waits_counts(
    database: Database, writer: Writer, command: Any, *, met: bool
) -> None:
    """Both wait for the head lock before the key is taken. The second one finds the record of the first."""
    given_account(writer)
    other = Writer(database)
    other.start()
    if met:
        answer(other.submit(deposit("1")))
        answer(writer.submit(deposit("1")))

    with holding_head(database) as holder:
        futures = [writer.submit(command), other.submit(command)]
        wait_until(lambda: waiting_for_head(holder) == 2)
    answers = [answer(future) for future in futures]
    other.stop()

    assert sorted(one.replayed for one in answers) == [False, True]
    first, second = (replace(one, replayed=False) for one in answers)
    assert first == second
    assert log_topics(database).count("payment.requested") == 2 * met + isinstance(command, RequestDeposit)
