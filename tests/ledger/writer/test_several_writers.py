"""Several writers on one log, and writers with a small cache."""

import pytest

from ledger.application.application import Ledger
from ledger.audit.verify import verify_seals
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.running_writer import answer, given_account, withdrawal


def test_two_writers_take_turns_and_agree(database: Database) -> None:
    """Each sees what the other has committed; nothing conflicts, and the log has no gap."""
    writers = [Writer(database, batch_max=7), Writer(database, batch_max=7)]
    for one in writers:
        one.start()
    given_account(writers[0], "100")

    futures = [writers[n % 2].submit(withdrawal("1")) for n in range(300)]
    answers = [answer(future) for future in futures]
    for one in writers:
        one.stop()

    accepted = [one for one in answers if not one.refused]
    account = Ledger(database).account(1)
    assert len(accepted) == 98  # 98 times 1.02 out of 100.00
    assert len({one.payment_id for one in answers}) == 300
    assert account.held_minor == 98 * 102
    assert verify_seals(database).ok


def test_a_writer_far_behind_reads_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """When more than CATCH_UP_MAX events are new, the writer clears its cache."""
    monkeypatch.setattr("ledger.writer.cache_loading.CATCH_UP_MAX", 2)
    behind, ahead = Writer(database), Writer(database)
    behind.start()
    ahead.start()
    given_account(behind)
    for _ in range(3):
        answer(ahead.submit(withdrawal("100")))

    requested = answer(behind.submit(withdrawal("700")))
    behind.stop()
    ahead.stop()

    assert requested.refused


def test_a_bounded_cache_changes_no_answer(database: Database) -> None:
    """A writer that caches one account and one payment decides the same as one that caches all."""
    writer = Writer(database, cache_capacity=1)
    writer.start()
    for _ in range(3):
        given_account(writer, "10")

    for account_id in (1, 2, 3, 1, 2, 3):
        answer(writer.submit(withdrawal("4", account_id=account_id)))
    refused = [answer(writer.submit(withdrawal("4", account_id=n))).refused for n in (1, 2, 3)]
    writer.stop()

    assert refused == [True, True, True]
