"""A log without its head, and a log that lost its last events."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from ledger.audit.verify import verify_seals
from ledger.domain.commands import RequestDeposit, RequestWithdrawal
from ledger.errors import LogBroken
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.running_writer import answer, deposit, given_account, withdrawal


def test_a_store_without_its_head_is_named_and_used_again_when_mended(database: Database, writer: Writer) -> None:
    """Every command is refused with the reason, and the writer goes on."""
    given_account(writer)
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM log_head")
        owner.execute("DELETE FROM log_head")

        with pytest.raises(LogBroken):
            answer(writer.submit(deposit()))
        assert not asyncio.run(writer.can_write())

        owner.execute("INSERT INTO log_head SELECT * FROM kept")
    assert asyncio.run(writer.can_write())
    assert answer(writer.submit(deposit())).payment_id == 1


@contextmanager
def losing_the_tail(database: Database) -> Iterator[None]:
    """Take the ledger back to its start, as if an asynchronous standby was promoted that lacked the last commits."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM log_head")
        yield
        owner.execute("DELETE FROM events WHERE notification_id > (SELECT position FROM kept)")
        owner.execute("DELETE FROM gateway_queue")
        owner.execute("UPDATE log_head SET (position, digest, next_payment_sequence)"
                      " = (SELECT position, digest, next_payment_sequence FROM kept)")  # fmt: skip


def test_a_log_that_went_another_way_is_read_again(database: Database, writer: Writer) -> None:
    """The cached state was lost, and the log has reached the same length with other events."""
    given_account(writer)
    with losing_the_tail(database):
        answer(writer.submit(withdrawal("900")))
    other = Writer(database)
    other.start()
    for _ in range(2):
        answer(other.submit(withdrawal("10")))
    other.stop()

    requested = answer(writer.submit(withdrawal("900")))

    assert (requested.payment_id, requested.refused) == (2049, False)
    assert verify_seals(database).ok


@pytest.mark.parametrize("overtaken", [False, True])
@pytest.mark.parametrize("lost", [deposit("900"), withdrawal("900")])
def test_a_log_that_lost_its_end_is_read_again(
    database: Database, writer: Writer, lost: RequestDeposit | RequestWithdrawal, *, overtaken: bool
) -> None:
    """The log loses one event or several, with one writer or with another that has written in between."""
    given_account(writer)
    if overtaken:
        other = Writer(database)
        other.start()
        answer(other.submit(deposit("1")))
        other.stop()
    with losing_the_tail(database):
        answer(writer.submit(lost))

    requested = answer(writer.submit(withdrawal("900")))

    assert (requested.payment_id, requested.refused) == (1025 if overtaken else 1, False)
    assert verify_seals(database).ok
